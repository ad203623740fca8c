//! The users and nodes that a policy is applied to.
use crate::address::{Address, Span, Spans, default_pools};
use crate::selector::Role;
use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::Value;
use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

#[derive(Debug, Clone, PartialEq)]
pub struct User {
    pub id: i64,
    pub name: Box<str>,
    pub email: Box<str>,
    pub role: Role,
}

/// Names and values.
pub type Facts = Arc<[(Box<str>, Box<str>)]>;

/// A node has an owner or tags, never both; one with neither matches no identity.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Node {
    pub id: u32,
    pub name: Box<str>,
    pub owner: Option<i64>,
    pub tags: Vec<Box<str>>,
    pub addresses: Vec<Address>,
    /// Served subnets: advertised and approved, exit routes apart.
    pub routes: Vec<Span>,
    /// Served default routes.
    pub exits: Vec<Span>,
    /// What the node says of itself, by name (`os`, `version`, ...). Many say the same, and share it.
    pub facts: Facts,
}

/// What the network as a whole has set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tailnet {
    /// Domains whose users belong here; none given, none is checked.
    pub domains: Option<Vec<Box<str>>>,
    pub auto_updates: bool,
}

#[derive(Debug, Clone)]
pub struct Directory {
    pub users: Vec<User>,
    pub nodes: Vec<Node>,
    pub tailnet: Tailnet,
    /// What `*` means as a source.
    pub pools: Spans,
    by_node: FxHashMap<u32, usize>,
    /// Addresses in order, and the indices of the nodes that have them, from when they are asked for.
    by_address: OnceLock<Vec<(Address, u32)>>,
    by_user: FxHashMap<i64, usize>,
    /// The indices of each user's own nodes, from when they are asked for.
    by_owner: OnceLock<FxHashMap<i64, Vec<u32>>>,
    /// The indices of the nodes with each tag, from when they are asked for.
    by_tag: OnceLock<FxHashMap<Box<str>, Vec<u32>>>,
}

impl User {
    /// Whether `text` is this user's name (`alice@`) or e-mail address.
    pub fn is_called(&self, text: &str) -> bool {
        if text.is_empty() {
            return false;
        }
        text == &*self.email || text == &*self.name || text.strip_suffix('@') == Some(&*self.name)
    }

    /// The part of the e-mail address before and after the last `@`.
    pub fn mailbox(&self) -> Option<(&str, &str)> {
        self.email.rsplit_once('@').or_else(|| self.name.rsplit_once('@')).filter(|(local, _)| !local.is_empty())
    }
}

impl Node {
    /// What the node reports of itself, by name.
    pub fn fact(&self, name: &str) -> Option<&str> {
        let name = if name == "tsVersion" { "version" } else { name };
        self.facts.iter().find(|(known, _)| &**known == name).map(|(_, value)| &**value)
    }

    pub fn add_route(&mut self, route: Span) {
        if route.is_default_route() { self.exits.push(route) } else { self.routes.push(route) }
    }

    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| &**own == tag)
    }

    /// The owner, if the node counts as that user's own: tagged nodes do not.
    pub fn untagged_owner(&self) -> Option<i64> {
        if self.tags.is_empty() { self.owner } else { None }
    }

    pub fn is_in(&self, span: &Span) -> bool {
        self.addresses.iter().any(|address| span.contains(*address))
    }

    pub fn serves(&self, span: &Span) -> bool {
        self.routes.iter().any(|route| route.overlaps(span))
    }
}

impl Directory {
    /// Nodes in order of their ids; of two with one id, the later counts.
    pub fn new(users: Vec<User>, mut nodes: Vec<Node>, tailnet: Tailnet) -> Self {
        nodes.sort_by_key(|node| node.id);
        let by_node = nodes.iter().enumerate().map(|(index, node)| (node.id, index)).collect();
        let by_user = users.iter().enumerate().map(|(index, user)| (user.id, index)).collect();
        let (by_address, by_owner, by_tag) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Self { users, nodes, tailnet, pools: default_pools(), by_node, by_address, by_user, by_owner, by_tag }
    }

    /// The index of a node.
    pub fn index(&self, id: u32) -> Option<u32> {
        self.by_node.get(&id).map(|index| *index as u32)
    }

    /// The indices of the nodes that have an address in `spans`, in order.
    pub fn within(&self, spans: &Spans) -> Vec<u32> {
        let known = self.by_address.get_or_init(|| {
            let nodes = self.nodes.iter().zip(0..);
            let pairs = nodes.flat_map(|(node, index)| node.addresses.iter().map(move |address| (*address, index)));
            let mut known: Vec<(Address, u32)> = pairs.collect();
            known.sort_unstable();
            known
        });
        let inside = spans.as_slice().iter().flat_map(|span| {
            let first = known.partition_point(|(address, _)| (address.v6, address.bits) < (span.v6, span.first));
            known[first..].iter().take_while(|(address, _)| span.contains(*address))
        });
        let mut found: Vec<u32> = inside.map(|(_, index)| *index).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The indices of these users' own nodes, in order.
    pub fn owned(&self, users: &FxHashSet<i64>) -> Vec<u32> {
        let mut found: Vec<u32> = users.iter().flat_map(|user| self.devices(*user)).copied().collect();
        found.sort_unstable();
        found
    }

    /// The indices of a user's own nodes, in order.
    pub fn devices(&self, user: i64) -> &[u32] {
        let known = self.by_owner.get_or_init(|| {
            let mut known: FxHashMap<i64, Vec<u32>> = FxHashMap::default();
            for (node, index) in self.nodes.iter().zip(0..) {
                if let Some(owner) = node.untagged_owner() {
                    known.entry(owner).or_default().push(index);
                }
            }
            known
        });
        known.get(&user).map_or(&[], Vec::as_slice)
    }

    /// The indices of the nodes with a tag, in order.
    pub fn tagged(&self, tag: &str) -> &[u32] {
        let known = self.by_tag.get_or_init(|| {
            let mut known: FxHashMap<Box<str>, Vec<u32>> = FxHashMap::default();
            for (node, index) in self.nodes.iter().zip(0..) {
                for tag in &node.tags {
                    let nodes = known.entry(tag.clone()).or_default();
                    if nodes.last() != Some(&index) {
                        nodes.push(index);
                    }
                }
            }
            known
        });
        known.get(tag).map_or(&[], Vec::as_slice)
    }

    pub fn node(&self, id: u32) -> Option<&Node> {
        self.by_node.get(&id).map(|index| &self.nodes[*index])
    }

    pub fn user(&self, id: i64) -> Option<&User> {
        self.by_user.get(&id).map(|index| &self.users[*index])
    }

    pub fn owner(&self, node: &Node) -> Option<&User> {
        self.user(node.untagged_owner()?)
    }

    /// Users and nodes in the shape of the replay contract's `input`. The error says what is wrong.
    pub fn from_json(input: &Value) -> Result<Self, String> {
        let users = match &input["users"] {
            Value::Null => Vec::new(),
            Value::Array(users) => users.iter().map(user).collect::<Result<_, _>>()?,
            _ => return Err("users is not a list".to_owned()),
        };
        let mut known: FxHashSet<i64> = FxHashSet::default();
        if let Some(user) = users.iter().find(|user: &&User| !known.insert(user.id)) {
            return Err(format!("two users have the id {}", user.id));
        }
        let mut nodes: Vec<Node> = Vec::new();
        if let Value::Object(entries) = &input["nodes"] {
            let owners = owners(&users);
            for (name, entry) in entries {
                nodes.push(node(name, entry, &owners)?);
            }
            let mut known: FxHashMap<u32, &str> = FxHashMap::default();
            for node in &nodes {
                if let Some(other) = known.insert(node.id, &node.name) {
                    return Err(format!("nodes {other:?} and {:?} have the same id", node.name));
                }
            }
        } else if !input["nodes"].is_null() {
            return Err("nodes is not a mapping of names".to_owned());
        }
        let tailnet = &input["tailnet"];
        let domains =
            tailnet["domains"].as_array().map(|list| list.iter().filter_map(Value::as_str).map(Into::into).collect());
        let auto_updates = tailnet["settings"]["devices_auto_updates_on"].as_bool().unwrap_or(false);
        Ok(Self::new(users, nodes, Tailnet { domains, auto_updates }))
    }
}

fn text<'a>(entry: &'a Value, field: &str) -> &'a str {
    entry[field].as_str().unwrap_or("")
}

fn user(entry: &Value) -> Result<User, String> {
    let id = entry["id"].as_i64().ok_or("a user has no id")?;
    Ok(User {
        id,
        name: text(entry, "name").into(),
        email: text(entry, "email").into(),
        role: Role::parse(text(entry, "role")),
    })
}

/// Users by what they are called (see [`User::is_called`]): by name first, and of several the first.
fn owners(users: &[User]) -> FxHashMap<Cow<'_, str>, i64> {
    let mut found: FxHashMap<Cow<'_, str>, i64> = FxHashMap::default();
    for user in users {
        found.entry(Cow::from(&*user.name)).or_insert(user.id);
    }
    for user in users {
        found.entry(Cow::from(format!("{}@", user.name))).or_insert(user.id);
        if !user.email.is_empty() {
            found.entry(Cow::from(&*user.email)).or_insert(user.id);
        }
    }
    found
}

fn node(name: &str, entry: &Value, owners: &FxHashMap<Cow<'_, str>, i64>) -> Result<Node, String> {
    let id = entry["id"].as_u64().filter(|id| *id < 1 << 22).ok_or(format!("node {name:?}: id is not below 2^22"))?;
    let mut node = Node { id: id as u32, name: name.into(), ..Node::default() };
    let wrong = |(field, what): (&str, &str)| format!("node {name:?}: {field} is not {what}");
    if let Some(owner) = single(entry, "user").map_err(wrong)? {
        node.owner = owners.get(owner).copied();
    }
    node.tags = strings(entry, "tags").map_err(wrong)?.into_iter().map(Into::into).collect();
    let mut addresses = strings(entry, "addresses").map_err(wrong)?;
    let two = [single(entry, "ipv4").map_err(wrong)?, single(entry, "ipv6").map_err(wrong)?];
    addresses.splice(..0, two.into_iter().flatten().filter(|text| !text.is_empty()));
    for address in addresses {
        node.addresses.push(Address::parse(address).ok_or(format!("node {name:?}: invalid address {address:?}"))?);
    }
    let approved = strings(entry, "approved_routes").map_err(wrong)?;
    for route in strings(entry, "routable_ips").map_err(wrong)?.into_iter().filter(|route| approved.contains(route)) {
        node.add_route(Span::parse(route).ok_or(format!("node {name:?}: invalid route {route:?}"))?);
    }
    let said = |fact: &str| {
        let value = entry[fact].as_str().filter(|value| !value.is_empty())?;
        Some((fact.into(), value.into()))
    };
    node.facts = ["os", "version", "country", "region", "osVersion"].into_iter().filter_map(said).collect();
    Ok(node)
}

/// A text, if there is one; else the field and what it should be.
fn single<'a>(entry: &'a Value, field: &'static str) -> Result<Option<&'a str>, (&'static str, &'static str)> {
    match &entry[field] {
        Value::Null => Ok(None),
        value => value.as_str().map(Some).ok_or((field, "a text")),
    }
}

/// A list of texts, empty where there is none.
fn strings<'a>(entry: &'a Value, field: &'static str) -> Result<Vec<&'a str>, (&'static str, &'static str)> {
    let wrong = (field, "a list of texts");
    match &entry[field] {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => list.iter().map(|one| one.as_str().ok_or(wrong)).collect(),
        _ => Err(wrong),
    }
}
