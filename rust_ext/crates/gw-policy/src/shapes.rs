//! Answers as JSON in the shapes of the service and of the replay contract.
use crate::filter::FilterRule;
use crate::logins::Login;
use serde_json::{Map, Value, json};

const DELEGATE: &str = "https://unused/machine/ssh/action/$SRC_NODE_ID/to/$DST_NODE_ID?local_user=$LOCAL_USER";

pub fn filter(rules: &[FilterRule]) -> Value {
    rules.iter().map(filter_rule).collect()
}

fn filter_rule(rule: &FilterRule) -> Value {
    let mut found = Map::new();
    found.insert("SrcIPs".to_owned(), json!(rule.sources.as_ref()));
    if rule.grants.is_empty() {
        let target = |(ip, ports): &(String, crate::ports::Ports)| json!({"IP": ip, "Ports": {"First": ports.first, "Last": ports.last}});
        found.insert("DstPorts".to_owned(), rule.targets.iter().map(target).collect());
    } else {
        let grant = |(dsts, given): &(Vec<String>, crate::model::Capabilities)| json!({"Dsts": dsts, "CapMap": given.iter().cloned().collect::<Map<_, _>>()});
        found.insert("CapGrant".to_owned(), rule.grants.iter().map(grant).collect());
    }
    if !rule.protocols.is_empty() {
        found.insert("IPProto".to_owned(), json!(rule.protocols));
    }
    Value::Object(found)
}

pub fn logins(rules: &[Login]) -> Value {
    rules.iter().map(login).collect()
}

fn login(rule: &Login) -> Value {
    let principals: Vec<Value> = rule.principals.iter().map(|address| json!({"nodeIP": address.to_string()})).collect();
    let action = if rule.check {
        json!({"holdAndDelegate": DELEGATE})
    } else {
        json!({
            "accept": true,
            "allowAgentForwarding": true,
            "allowLocalPortForwarding": true,
            "allowRemotePortForwarding": true,
        })
    };
    let mut found = json!({"principals": principals, "sshUsers": rule.users, "action": action});
    if !rule.accept_env.is_empty() {
        found["acceptEnv"] = json!(rule.accept_env);
    }
    found
}
