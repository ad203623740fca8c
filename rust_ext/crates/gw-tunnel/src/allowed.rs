//! Crypto routing: which peer an address belongs to.
use hashbrown::HashMap;
use ip_network::IpNetwork;
use ip_network_table::IpNetworkTable;
use ipnet::IpNet;
use std::net::IpAddr;

/// Addresses by exact match, networks by longest prefix; values are peer slots.
pub struct AllowedIps {
    hosts: HashMap<IpAddr, u32>,
    networks: IpNetworkTable<u32>,
}

impl AllowedIps {
    pub fn new() -> Self {
        Self { hosts: HashMap::new(), networks: IpNetworkTable::new() }
    }

    /// Where two peers claim the same, the later one has it.
    pub fn insert(&mut self, network: IpNet, slot: u32) {
        if network.prefix_len() == network.max_prefix_len() {
            self.hosts.insert(network.addr(), slot);
        } else if let Ok(truncated) = IpNetwork::new_truncate(network.addr(), network.prefix_len()) {
            self.networks.insert(truncated, slot);
        }
    }

    pub fn find(&self, address: &IpAddr) -> Option<u32> {
        if let Some(&slot) = self.hosts.get(address) {
            return Some(slot);
        }
        self.networks.longest_match(*address).map(|(_, &slot)| slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins() {
        let mut allowed = AllowedIps::new();
        for (text, slot) in [("10.0.0.0/8", 1), ("10.1.2.0/24", 2), ("10.1.2.3/32", 3), ("fd7a::/48", 4)] {
            allowed.insert(text.parse().expect("network"), slot);
        }
        for (text, slot) in [("10.9.9.9", 1), ("10.1.2.4", 2), ("10.1.2.3", 3), ("fd7a::1", 4)] {
            assert_eq!(allowed.find(&text.parse().expect("address")), Some(slot));
        }
        assert_eq!(allowed.find(&"11.0.0.1".parse().expect("address")), None);
    }
}
