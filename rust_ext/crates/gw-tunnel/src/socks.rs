//! The server's half of SOCKS5 (RFC 1928, RFC 1929), sans-IO: `CONNECT` only.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const PASSWORD: u8 = 2;
const NOTHING_ACCEPTABLE: u8 = 0xff;

/// RFC 1928, section 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Reply {
    Succeeded = 0,
    NotAllowed = 2,
    HostUnreachable = 4,
    Refused = 5,
    UnknownCommand = 7,
    UnknownAddress = 8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Address(SocketAddr),
    Name(String, u16),
}

/// What to do after some input.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Read more.
    Wait,
    /// Write this, then go on.
    Say(Vec<u8>),
    /// Dial, then answer with [`reply`].
    Connect(Target),
    /// Write this, then hang up.
    End(Vec<u8>),
    /// Hang up: it is not SOCKS.
    Garbage,
}

/// `user:password`.
pub type Credentials = Zeroizing<String>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Greeting,
    Password,
    Request,
    Done,
}

/// One client's way through the protocol.
pub struct Server {
    state: State,
    input: Vec<u8>,
}

/// The answer to a request. The bound address is of no use to the client and always 0.0.0.0:0.
#[must_use]
pub fn reply(code: Reply) -> Vec<u8> {
    vec![VERSION, code as u8, 0, 1, 0, 0, 0, 0, 0, 0]
}

impl Server {
    pub fn new() -> Self {
        Self { state: State::Greeting, input: Vec::new() }
    }

    /// Bytes that came in.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// What came after the request: the first bytes for the other end.
    pub fn rest(self) -> Vec<u8> {
        self.input
    }

    /// Go on as far as the input allows.
    pub fn step(&mut self, credentials: Option<&Credentials>) -> Step {
        let parsed = match self.state {
            State::Greeting => greeting(&self.input, credentials.is_some()),
            State::Password => password(&self.input, credentials),
            State::Request => request(&self.input),
            State::Done => None,
        };
        let Some((used, step)) = parsed else { return Step::Wait };
        self.input.drain(..used);
        self.state = match (self.state, credentials) {
            (State::Greeting, Some(_)) => State::Password,
            (State::Greeting | State::Password, _) => State::Request,
            _ => State::Done,
        };
        step
    }
}

fn greeting(input: &[u8], wants_password: bool) -> Option<(usize, Step)> {
    let (&version, &count) = (input.first()?, input.get(1)?);
    if version != VERSION {
        return Some((0, Step::Garbage));
    }
    let end = 2 + usize::from(count);
    let method = if wants_password { PASSWORD } else { NO_AUTHENTICATION };
    let offered = input.get(2..end)?.contains(&method);
    let step = match offered {
        true => Step::Say(vec![VERSION, method]),
        false => Step::End(vec![VERSION, NOTHING_ACCEPTABLE]),
    };
    Some((end, step))
}

fn password(input: &[u8], credentials: Option<&Credentials>) -> Option<(usize, Step)> {
    let (&version, &user_size) = (input.first()?, input.get(1)?);
    if version != 1 {
        return Some((0, Step::Garbage));
    }
    let user_end = 2 + usize::from(user_size);
    let end = user_end + 1 + usize::from(*input.get(user_end)?);
    let user = input.get(2..user_end)?;
    let secret = input.get(user_end + 1..end)?;
    let given = Zeroizing::new([user, b":", secret].concat());
    let matches = credentials.is_some_and(|wanted| bool::from(given.as_slice().ct_eq(wanted.as_bytes())));
    Some((end, if matches { Step::Say(vec![1, 0]) } else { Step::End(vec![1, 1]) }))
}

fn request(input: &[u8]) -> Option<(usize, Step)> {
    let head: &[u8; 4] = input.get(..4)?.try_into().ok()?;
    if head[0] != VERSION {
        return Some((0, Step::Garbage));
    }
    let (host_end, host) = match head[3] {
        1 => {
            let octets: [u8; 4] = input.get(4..8)?.try_into().ok()?;
            (8, Ok(IpAddr::V4(Ipv4Addr::from(octets))))
        }
        4 => {
            let octets: [u8; 16] = input.get(4..20)?.try_into().ok()?;
            (20, Ok(IpAddr::V6(Ipv6Addr::from(octets))))
        }
        3 => {
            let end = 5 + usize::from(*input.get(4)?);
            (end, Err(String::from_utf8_lossy(input.get(5..end)?).into_owned()))
        }
        _ => return Some((input.len(), Step::End(reply(Reply::UnknownAddress)))),
    };
    let port = u16::from_be_bytes(input.get(host_end..host_end + 2)?.try_into().ok()?);
    let step = match (head[1], host) {
        (1, Ok(address)) => Step::Connect(Target::Address(SocketAddr::new(address, port))),
        (1, Err(name)) => Step::Connect(Target::Name(name, port)),
        _ => Step::End(reply(Reply::UnknownCommand)),
    };
    Some((host_end + 2, step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn connects_without_a_password() {
        let mut server = Server::new();
        server.feed(&[5, 1, 0, 5, 1, 0, 1, 100, 64, 0, 2, 0, 80, b'G']);
        assert_eq!(server.step(None), Step::Say(vec![5, 0]));
        assert_eq!(server.step(None), Step::Connect(Target::Address("100.64.0.2:80".parse().expect("address"))));
        assert_eq!(server.rest(), b"G");
    }

    #[test]
    fn asks_for_the_password_and_compares_it() {
        let credentials = Zeroizing::new("al:secret".to_owned());
        for (secret, wanted) in [("secret", Step::Say(vec![1, 0])), ("Secret", Step::End(vec![1, 1]))] {
            let mut server = Server::new();
            server.feed(&[5, 2, 0, 2]);
            assert_eq!(server.step(Some(&credentials)), Step::Say(vec![5, 2]));
            server.feed(&[1, 2, b'a', b'l', 6]);
            server.feed(secret.as_bytes());
            assert_eq!(server.step(Some(&credentials)), wanted);
        }
        let mut server = Server::new();
        server.feed(&[5, 1, 0]);
        assert_eq!(server.step(Some(&credentials)), Step::End(vec![5, 0xff]));
    }

    proptest! {
        #[test]
        fn any_input_in_any_pieces_gives_the_same_steps(input in proptest::collection::vec(any::<u8>(), 0..80), cut in 0usize..80) {
            let run = |pieces: &[&[u8]]| {
                let mut server = Server::new();
                let mut steps = Vec::new();
                for piece in pieces {
                    server.feed(piece);
                    loop {
                        match server.step(None) {
                            Step::Wait => break,
                            end @ (Step::End(_) | Step::Garbage) => { steps.push(end); return steps; }
                            step => steps.push(step),
                        }
                    }
                }
                steps
            };
            let cut = cut.min(input.len());
            prop_assert_eq!(run(&[&input]), run(&[&input[..cut], &input[cut..]]));
        }
    }
}
