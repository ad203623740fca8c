//! `rust_ext.tunnel`: the data plane of a node.
use pyo3::prelude::*;

#[pymodule]
#[pyo3(name = "tunnel")]
pub mod tunnel {
    use crate::errors;
    use gw_filter::{Fragment, RuleSet, Sender, Transport, header};
    use gw_tunnel::Flow;
    use pyo3::prelude::*;
    use pyo3::types::PyBytes;
    use std::collections::HashMap;
    use std::net::IpAddr;

    #[pyclass(frozen, module = "rust_ext.tunnel")]
    struct Tunnel(gw_tunnel::Tunnel);

    #[pymethods]
    impl Tunnel {
        #[new]
        fn new(py: Python<'_>, config: &[u8]) -> PyResult<Self> {
            py.detach(|| gw_tunnel::Tunnel::open(config)).map(Self).map_err(errors::tunnel)
        }

        #[getter]
        fn mode(&self) -> &'static str {
            if self.0.tun_name().is_some() { "tun" } else { "userspace" }
        }

        #[getter]
        fn port(&self) -> u16 {
            self.0.port()
        }

        #[getter]
        fn tun_name(&self) -> Option<&str> {
            self.0.tun_name()
        }

        fn set_private_key(&self, py: Python<'_>, key: [u8; 32]) -> PyResult<()> {
            py.detach(|| self.0.set_private_key(key)).map_err(errors::tunnel)
        }

        fn set_addresses(&self, py: Python<'_>, addresses: Vec<String>, owner: u64) -> PyResult<()> {
            let addresses = addresses.iter().map(|text| errors::address(text)).collect::<PyResult<_>>()?;
            py.detach(|| self.0.set_addresses(addresses, owner)).map_err(errors::tunnel)
        }

        fn set_peers(&self, py: Python<'_>, peers: &[u8]) -> PyResult<()> {
            py.detach(|| self.0.set_peers(peers)).map_err(errors::tunnel)
        }

        fn set_filter(&self, py: Python<'_>, rules: &[u8]) -> PyResult<()> {
            py.detach(|| self.0.set_filter(rules)).map_err(errors::tunnel)
        }

        fn set_names(&self, py: Python<'_>, names: HashMap<String, Vec<String>>) -> PyResult<()> {
            let names = names
                .into_iter()
                .map(|(name, list)| Ok((name, list.iter().map(|text| errors::address(text)).collect::<PyResult<_>>()?)))
                .collect::<PyResult<Vec<(String, Vec<IpAddr>)>>>()?;
            py.detach(|| self.0.set_names(names)).map_err(errors::tunnel)
        }

        #[pyo3(signature = (address, open_proxy=false, credentials=None))]
        fn socks5(
            &self,
            py: Python<'_>,
            address: &str,
            open_proxy: bool,
            credentials: Option<String>,
        ) -> PyResult<String> {
            py.detach(|| self.0.socks5(address, open_proxy, credentials)).map_err(errors::tunnel)
        }

        #[pyo3(signature = (local, peer, port, open_proxy=false))]
        fn forward(&self, py: Python<'_>, local: &str, peer: &str, port: u16, open_proxy: bool) -> PyResult<String> {
            py.detach(|| self.0.forward(local, peer, port, open_proxy)).map_err(errors::tunnel)
        }

        fn expose(&self, py: Python<'_>, port: u16, local: &str) -> PyResult<()> {
            py.detach(|| self.0.expose(port, local)).map_err(errors::tunnel)
        }

        #[pyo3(signature = (address, timeout_ms, size=56))]
        fn ping(&self, py: Python<'_>, address: &str, timeout_ms: u64, size: u16) -> PyResult<Option<f64>> {
            let address = errors::address(address)?;
            py.detach(|| self.0.ping(address, timeout_ms, size)).map_err(errors::tunnel)
        }

        fn peers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
            Ok(PyBytes::new(py, &py.detach(|| self.0.peers()).map_err(errors::tunnel)?))
        }

        fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
            Ok(PyBytes::new(py, &py.detach(|| self.0.stats()).map_err(errors::tunnel)?))
        }

        fn take_hits(&self, py: Python<'_>) -> PyResult<HashMap<u64, u64>> {
            py.detach(|| self.0.take_hits()).map(|hits| hits.into_iter().collect()).map_err(errors::tunnel)
        }

        fn take_flows(&self, py: Python<'_>) -> PyResult<HashMap<u64, (u64, u64, u64, u64)>> {
            let flows = py.detach(|| self.0.take_flows()).map_err(errors::tunnel)?;
            let counts = |flow: Flow| (flow.rx_packets, flow.rx_bytes, flow.tx_packets, flow.tx_bytes);
            Ok(flows.into_iter().map(|(peer, flow)| (peer, counts(flow))).collect())
        }

        fn tick(&self, py: Python<'_>, utc_ns: u64) -> PyResult<()> {
            py.detach(|| self.0.tick(utc_ns)).map_err(errors::tunnel)
        }

        fn close(&self, py: Python<'_>) {
            py.detach(|| self.0.close());
        }
    }

    /// source, destination, protocol, kind, first, second, payload, length; see the stub.
    type Parsed = (String, String, u8, &'static str, u32, u32, usize, usize);

    #[pyfunction]
    fn parse_headers(packet: &[u8]) -> Option<Parsed> {
        let headers = header::parse(packet)?;
        let (kind, first, second) = match (headers.fragment, headers.transport) {
            (Fragment::Later { id, offset }, _) => ("later", id, u32::from(offset)),
            (_, Transport::Ports { source, destination, .. }) => ("ports", u32::from(source), u32::from(destination)),
            (_, Transport::Echo { request, id }) => ("echo", u32::from(id), u32::from(request)),
            (_, Transport::IcmpError { .. }) => ("error", 0, 0),
            (_, Transport::Icmp { kind, code }) => ("icmp", u32::from(kind), u32::from(code)),
            (_, Transport::Opaque) => ("opaque", 0, 0),
        };
        let (source, destination) = (headers.source.to_string(), headers.destination.to_string());
        Some((source, destination, headers.protocol, kind, first, second, headers.payload, headers.length))
    }

    #[pyfunction]
    #[pyo3(signature = (rules_json, peer_class, peer_owner, self_owner, self_addresses, packet, utc_ns=0))]
    fn filter_decide(
        rules_json: &[u8],
        peer_class: u64,
        peer_owner: u64,
        self_owner: u64,
        self_addresses: Vec<String>,
        packet: &[u8],
        utc_ns: u64,
    ) -> PyResult<bool> {
        let mut rules = RuleSet::parse(rules_json).map_err(errors::filter)?;
        let own: Vec<IpAddr> = self_addresses.iter().map(|text| errors::address(text)).collect::<PyResult<_>>()?;
        let sender = Sender { peer: 0, class: peer_class, owner: peer_owner };
        Ok(rules.starts(header::parse(packet).as_ref(), sender, self_owner, &own, utc_ns))
    }
}
