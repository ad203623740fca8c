//! Who and what a rule may name.
use crate::address::Span;

/// One name in a rule, told apart by its form; whether it is defined is checked elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Selector {
    /// `*`
    Any,
    /// `autogroup:danger-all`: any source address whatever.
    DangerAll,
    /// `autogroup:internet`
    Internet,
    /// `autogroup:self`
    Own,
    /// `autogroup:member`
    Member,
    /// `autogroup:tagged`
    Tagged,
    /// `autogroup:owner` and the other roles
    Role(Role),
    /// `alice@` or an e-mail address
    User(Box<str>),
    /// `user:*@example.com`
    Domain(Box<str>),
    /// `group:name`
    Group(Box<str>),
    /// `tag:name`
    Tag(Box<str>),
    /// `ipset:name`
    IpSet(Box<str>),
    /// `svc:name`
    Service(Box<str>),
    /// An alias of `hosts`
    Host(Box<str>),
    /// An address, a prefix, or a range
    Span(Span),
    /// `autogroup:...` that does not exist
    Unknown(Box<str>),
    /// Who is in a group for a time only, by the number of the membership.
    Membership(u32),
    /// One user and one node, by their ids: what requests grant. No text names them.
    Bearer(i64),
    Device(u32),
}

/// What a user may do in the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    Owner,
    Admin,
    ItAdmin,
    NetworkAdmin,
    BillingAdmin,
    Auditor,
    Member,
}

const ROLES: [(&str, Role); 7] = [
    ("owner", Role::Owner),
    ("admin", Role::Admin),
    ("it-admin", Role::ItAdmin),
    ("network-admin", Role::NetworkAdmin),
    ("billing-admin", Role::BillingAdmin),
    ("auditor", Role::Auditor),
    ("member", Role::Member),
];

/// Every autogroup that some section of a policy knows.
pub const AUTOGROUPS: [&str; 12] = [
    "autogroup:member",
    "autogroup:tagged",
    "autogroup:self",
    "autogroup:internet",
    "autogroup:danger-all",
    "autogroup:owner",
    "autogroup:admin",
    "autogroup:it-admin",
    "autogroup:network-admin",
    "autogroup:billing-admin",
    "autogroup:auditor",
    "autogroup:nonroot",
];

impl Role {
    /// An unknown role counts as a plain member.
    pub fn parse(text: &str) -> Self {
        ROLES.iter().find(|(name, _)| *name == text).map_or(Role::Member, |(_, role)| *role)
    }
}

impl Selector {
    pub fn parse(text: &str) -> Self {
        if text == "*" {
            return Self::Any;
        }
        if let Some((kind, rest)) = text.split_once(':') {
            match kind {
                "autogroup" => return Self::autogroup(text, rest),
                "group" => return Self::Group(text.into()),
                "tag" => return Self::Tag(text.into()),
                "ipset" => return Self::IpSet(text.into()),
                "svc" => return Self::Service(text.into()),
                "host" => return Self::Host(rest.into()),
                "user" => {
                    if let Some(domain) = rest.strip_prefix("*@") {
                        return Self::Domain(domain.into());
                    }
                }
                _ => {}
            }
        }
        let bare = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(text);
        if let Some(span) = Span::parse_wide(bare) {
            return Self::Span(span);
        }
        if text.contains('@') { Self::User(text.into()) } else { Self::Host(text.into()) }
    }

    fn autogroup(text: &str, name: &str) -> Self {
        match name {
            "member" | "members" => Self::Member,
            "tagged" => Self::Tagged,
            "self" => Self::Own,
            "internet" => Self::Internet,
            "danger-all" => Self::DangerAll,
            _ => match ROLES.iter().find(|(role, _)| *role == name) {
                Some((_, role)) => Self::Role(*role),
                None => Self::Unknown(text.into()),
            },
        }
    }

    /// Names users, so it may stand before `autogroup:self`.
    pub fn is_of_users(&self) -> bool {
        matches!(self, Self::User(_) | Self::Domain(_) | Self::Group(_) | Self::Member | Self::Role(_))
    }

    /// Decided by who owns or tags a node, not by addresses.
    pub fn is_identity(&self) -> bool {
        self.is_of_users()
            || matches!(self, Self::Tag(_) | Self::Tagged | Self::Membership(_) | Self::Bearer(_) | Self::Device(_))
    }
}
