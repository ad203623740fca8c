//! This machine's side of a proxied connection: TCP or Unix sockets, and who is at their other end.
use crate::TunnelError;
use mio::event::Source;
use mio::{Interest, Registry, Token};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::path::PathBuf;
use std::{fs, os};

/// `127.0.0.1:80`, `[::1]:80`, `localhost:80`, `80` or `unix:/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl LocalAddress {
    pub fn parse(text: &str) -> Result<Self, TunnelError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let spelled = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None if text.parse::<u16>().is_ok() => format!("127.0.0.1:{text}"),
            None => text.to_owned(),
        };
        spelled
            .parse()
            .map(Self::Tcp)
            .map_err(|_| TunnelError::invalid(format!("{text:?} is neither ADDRESS:PORT nor unix:/PATH")))
    }

    pub fn is_private(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for LocalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Both ends of an accepted TCP connection, by which the system knows who made it.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    pub client: SocketAddr,
    pub server: SocketAddr,
}

/// Who stands at the other end of an accepted connection.
pub enum Caller {
    /// To be found out from the system's table of connections.
    Unknown(Ends),
    Uid(u32),
}

pub enum Listener {
    Tcp(mio::net::TcpListener),
    Unix(mio::net::UnixListener, PathBuf),
}

impl Listener {
    pub fn bind(address: &LocalAddress) -> io::Result<Self> {
        match address {
            LocalAddress::Tcp(address) => Ok(Self::Tcp(mio::net::TcpListener::bind(*address)?)),
            LocalAddress::Unix(path) => {
                use os::unix::fs::{FileTypeExt, PermissionsExt};
                // A socket that nobody serves any more is left from a process that was killed.
                if fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket())
                    && os::unix::net::UnixStream::connect(path).is_err()
                {
                    fs::remove_file(path)?;
                }
                let listener = mio::net::UnixListener::bind(path)?;
                fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
                Ok(Self::Unix(listener, path.clone()))
            }
        }
    }

    pub fn address(&self) -> io::Result<LocalAddress> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(LocalAddress::Tcp),
            Self::Unix(_, path) => Ok(LocalAddress::Unix(path.clone())),
        }
    }

    pub fn accept(&self) -> io::Result<(Local, Caller)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, client) = listener.accept()?;
                stream.set_nodelay(true)?;
                let server = stream.local_addr()?;
                Ok((Local::Tcp(stream), Caller::Unknown(Ends { client, server })))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept()?;
                let caller = rustix::net::sockopt::socket_peercred(&stream)?;
                Ok((Local::Unix(stream), Caller::Uid(caller.uid.as_raw())))
            }
        }
    }

    pub fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(listener) => listener,
            Self::Unix(listener, _) => listener,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            let _gone_already = fs::remove_file(path);
        }
    }
}

/// An open connection on this machine.
pub enum Local {
    Tcp(mio::net::TcpStream),
    Unix(mio::net::UnixStream),
}

impl Local {
    /// Begin to connect; the first event tells whether it worked.
    pub fn dial(address: &LocalAddress) -> io::Result<Self> {
        match address {
            LocalAddress::Tcp(address) => {
                let stream = mio::net::TcpStream::connect(*address)?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
            LocalAddress::Unix(path) => Ok(Self::Unix(mio::net::UnixStream::connect(path)?)),
        }
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self {
            Self::Tcp(stream) => registry.register(stream, token, interest),
            Self::Unix(stream) => registry.register(stream, token, interest),
        }
    }

    /// Whether a dial has come through: `None` while it is under way.
    pub fn connected(&self) -> Option<bool> {
        let error = match self {
            Self::Tcp(stream) => stream.take_error(),
            Self::Unix(stream) => stream.take_error(),
        };
        if !matches!(error, Ok(None)) {
            return Some(false);
        }
        let peer = match self {
            Self::Tcp(stream) => stream.peer_addr().map(drop),
            Self::Unix(stream) => stream.peer_addr().map(drop),
        };
        match peer {
            Ok(()) => Some(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => None,
            Err(_) => Some(false),
        }
    }

    /// No more will be written.
    pub fn finish(&self) {
        // The other side may already be gone, which is as finished as can be.
        let _gone = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }

    /// Closing shall tell the other side that this was no orderly end.
    pub fn reset(&self) {
        let _best_effort = match self {
            Self::Tcp(stream) => socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO)),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Read for &Local {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match *self {
            Local::Tcp(stream) => (&*stream).read(buffer),
            Local::Unix(stream) => (&*stream).read(buffer),
        }
    }
}

impl Write for &Local {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match *self {
            Local::Tcp(stream) => (&*stream).write(bytes),
            Local::Unix(stream) => (&*stream).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The uid that owns the client's end of a loopback connection, from `/proc/net/tcp` and `/proc/net/tcp6`. Reading
/// them takes time in proportion to the machine's connections: not for the engine's own thread.
pub fn uid_of(ends: Ends) -> Option<u32> {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .find_map(|table| uid_in(&table, ends))
}

fn uid_in(table: &str, ends: Ends) -> Option<u32> {
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let local = proc_address(fields.nth(1)?)?;
        let remote = proc_address(fields.next()?)?;
        if local != plain(ends.client) || remote != plain(ends.server) {
            return None;
        }
        let uid = fields.nth(4)?.parse().ok()?;
        // A socket that its process has closed already may be shown as root's: nobody is there to be served.
        (fields.nth(1)? != "0").then_some(uid)
    })
}

fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// `0100007F:1F90`: the address as 32-bit words in the machine's byte order, the port in the network's.
fn proc_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let octets: [u8; 16] = [word(0)?, word(8)?, word(16)?, word(24)?].concat().try_into().ok()?;
            IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net;

    #[test]
    fn finds_its_own_uid() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = net::TcpListener::bind(host) else { continue };
            let server = listener.local_addr().expect("bound");
            let client = net::TcpStream::connect(server).expect("loopback");
            let ends = Ends { client: client.local_addr().expect("connected"), server };
            assert_eq!(uid_of(ends), Some(rustix::process::getuid().as_raw()));
            let other = Ends { client: SocketAddr::new(ends.client.ip(), ends.client.port() ^ 1), server };
            assert_eq!(uid_of(other), None);
        }
    }

    #[test]
    fn a_closed_socket_is_nobodys() {
        let line = |inode| format!("head\n 0: 0100007F:C000 0100007F:0438 05 0:0 0:0 0 0 0 {inode} 1 x");
        let ends = Ends {
            client: "127.0.0.1:49152".parse().expect("address"),
            server: "127.0.0.1:1080".parse().expect("address"),
        };
        assert_eq!(uid_in(&line(77), ends), Some(0));
        assert_eq!(uid_in(&line(0), ends), None);
    }

    #[test]
    fn reads_addresses_as_people_write_them() {
        for (text, wanted) in
            [("8080", "127.0.0.1:8080"), ("localhost:1", "127.0.0.1:1"), ("[::1]:2", "[::1]:2"), ("unix:/a", "unix:/a")]
        {
            assert_eq!(LocalAddress::parse(text).expect("valid").to_string(), wanted);
        }
        assert!(LocalAddress::parse("example.org:80").is_err());
    }
}
