//! Nothing that comes in panics, and sets of addresses are what they say.
use gw_policy::address::{Address, Span, Spans, Step};
use gw_policy::directory::{Directory, Node};
use gw_policy::lint::lint;
use gw_policy::model::Rule;
use gw_policy::scope::{Bindings, Scope};
use gw_policy::window::{Schedule, Window};
use gw_policy::{Policy, replay};
use proptest::prelude::*;
use std::sync::Arc;

fn words() -> impl Strategy<Value = String> {
    let known = [
        "\"acls\"",
        "\"grants\"",
        "\"groups\"",
        "\"hosts\"",
        "\"ipsets\"",
        "\"src\"",
        "\"dst\"",
        "\"ip\"",
        "\"action\"",
        "\"accept\"",
        "\"group:a\"",
        "\"tag:a\"",
        "\"*\"",
        "\"*:*\"",
        "\"::/0\"",
        "\"10.0.0.0/8:1-2\"",
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "// x\n",
        "/* y */",
        "null",
        "true",
        "1e9",
        "\"\\u00e9\"",
        "\"a@\"",
        "\"autogroup:self\"",
        "\"ghostwire\"",
        "\"deny\"",
        "\"schedules\"",
        "\"conditions\"",
        "\"requests\"",
        "\"schedule\"",
        "\"expires\"",
        "\"hours\"",
        "\"09:00-17:30\"",
        "\"2026-12-01T00:00:00Z\"",
        "\"os == 'linux'\"",
    ];
    prop::collection::vec(prop::sample::select(known.to_vec()), 0..60).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_is_read_or_refused_with_a_place(text in prop_oneof![".{0,200}", words()]) {
        if let Err(error) = Policy::parse(&text) {
            prop_assert!(error.line >= 1 && error.column >= 1);
            prop_assert!(error.line as usize <= text.matches('\n').count() + 1);
        }
    }

    #[test]
    fn any_line_is_answered_or_refused(policy in words()) {
        let line = serde_json::json!({"test_id": "t", "input": {"policy": policy, "nodes": {}, "users": []}});
        prop_assert!(replay::line(&line.to_string()).is_ok());
        _ = replay::line(&policy);
    }

    #[test]
    fn a_window_turns_only_where_it_says(
        hours in (0u16..1440, 0u16..1440).prop_filter("they differ", |(first, last)| first != last),
        day in 0usize..7,
        zone in prop::sample::select(vec!["Europe/Berlin", "America/St_Johns", "Pacific/Chatham", "Asia/Tehran", "UTC"]),
        at in 1_700_000_000i64..2_000_000_000,
        later in 0i64..700_000,
    ) {
        let text = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        let spans = format!("{}-{}", text(hours.0), text(hours.1));
        let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let schedule = Schedule::new("s", &[days[day]], &[&spans], zone).expect("a schedule");
        let window = Window { schedule: Some(Arc::new(schedule)), expires: None };
        let second = 1_000_000_000;
        let now = window.at(at * second);
        prop_assert!(now.turns > at * second);
        prop_assert_eq!(window.is_open(now.turns), !now.open);
        prop_assert_eq!(window.is_open(now.turns - 1), now.open);
        if (at + later) * second < now.turns {
            prop_assert_eq!(window.is_open((at + later) * second), now.open);
        }
    }

    #[test]
    fn sets_of_addresses_hold_what_they_are_made_of(
        spans in prop::collection::vec((0u128..60, 0u128..12), 0..8),
        holes in prop::collection::vec((0u128..60, 0u128..12), 0..8),
    ) {
        let span = |(first, more): &(u128, u128)| Span { v6: false, first: *first, last: first + more };
        let (kept, gone): (Spans, Spans) = (spans.iter().map(span).collect(), holes.iter().map(span).collect());
        let rest = kept.without(&gone);
        for bits in 0..80 {
            let address = Address { v6: false, bits };
            let within = |list: &[(u128, u128)]| list.iter().any(|entry| span(entry).contains(address));
            prop_assert_eq!(kept.contains(address), within(&spans));
            prop_assert_eq!(rest.contains(address), within(&spans) && !within(&holes));
        }
        prop_assert!(rest.as_slice().windows(2).all(|pair| pair[0].last < pair[1].first));
    }

    #[test]
    fn prefixes_are_written_as_they_are_read(bits in any::<u32>(), length in 0u32..=32) {
        let text = format!("{}/{length}", std::net::Ipv4Addr::from(bits));
        let span = Span::parse(&text).expect("a prefix");
        prop_assert_eq!(span.prefix_length(), Some(length));
        prop_assert_eq!(Span::parse(&span.cidr()), Some(span));
        let address = Address { v6: false, bits: bits.into() };
        prop_assert!(span.contains(address));
    }
}

#[test]
fn the_internet_is_without_private_ranges() {
    let internet = gw_policy::address::internet();
    let holds = |text: &str| internet.contains(Address::parse(text).expect("an address"));
    assert!(holds("8.8.8.8") && holds("2001:db8::1") && holds("100.128.0.0"));
    assert!(!holds("10.1.2.3") && !holds("100.64.0.1") && !holds("192.168.0.1") && !holds("fd7a::1"));
}

#[test]
fn deep_nesting_ends_early() {
    let error = Policy::parse(&"[".repeat(1 << 20)).expect_err("too deep");
    assert_eq!((error.message.as_str(), error.line), ("nested too deeply", 1));
}

proptest! {
    #[test]
    fn steps_leave_what_they_leave_one_by_one(
        parts in prop::collection::vec((any::<bool>(), prop::collection::vec((any::<bool>(), 0u8..24, 0u8..24), 0..4)), 0..8),
    ) {
        // The ends of both families, where edges have no neighbours.
        let place = |v6: bool, near: u8| match (v6, near < 12) {
            (_, true) => u128::from(near),
            (false, false) => u128::from(u32::MAX - u32::from(23 - near)),
            (true, false) => u128::MAX - u128::from(23 - near),
        };
        let span = |(v6, one, other): &(bool, u8, u8)| {
            let (first, last) = (place(*v6, *one.min(other)), place(*v6, *one.max(other)));
            Span { v6: *v6, first, last }
        };
        let parts: Vec<(bool, Spans)> = parts.iter().map(|(add, spans)| (*add, spans.iter().map(span).collect())).collect();
        let steps: Vec<Step> = parts.iter().map(|(add, spans)| if *add { Step::Add(spans) } else { Step::Remove(spans) }).collect();
        let one_by_one = parts.iter().fold(Spans::default(), |set, (add, spans)| match add {
            true => set.as_slice().iter().chain(spans.as_slice()).copied().collect(),
            false => set.without(spans),
        });
        prop_assert_eq!(Spans::after(&steps), one_by_one);
    }
}

/// A network of some users' devices, tagged machines, routers and exits.
fn network(nodes: &[(u8, u8, u8)]) -> Directory {
    let node = |(index, (owner, address, route)): (usize, &(u8, u8, u8))| {
        let routes = ["10.1.0.0/16", "10.2.3.0/24", "0.0.0.0/0", "8.8.8.0/24"];
        let own = match owner % 4 {
            0 => serde_json::json!({"tags": ["tag:a"]}),
            1 => serde_json::json!({"tags": ["tag:b"]}),
            owner => serde_json::json!({"user": format!("u{owner}@")}),
        };
        let mut entry = own;
        entry["id"] = index.into();
        entry["os"] = ["linux", ""][usize::from(address % 2)].into();
        entry["ipv4"] = ["100.64.0.1", "100.64.0.2", "8.8.4.4"][usize::from(address % 3)].into();
        let served: Vec<&str> = routes.iter().skip(usize::from(route % 8)).take(1).copied().collect();
        entry["routable_ips"] = served.clone().into();
        entry["approved_routes"] = served.into();
        (index.to_string(), entry)
    };
    let nodes: serde_json::Map<String, serde_json::Value> = nodes.iter().enumerate().map(node).collect();
    let users: Vec<_> = (2..5).map(|id| serde_json::json!({"id": id, "name": format!("u{id}")})).collect();
    Directory::from_json(&serde_json::json!({"users": users, "nodes": nodes})).unwrap()
}

proptest! {
    #[test]
    fn idle_rules_are_those_that_no_node_is_on_either_side_of(
        nodes in prop::collection::vec((any::<u8>(), any::<u8>(), any::<u8>()), 1..6),
        rules in prop::collection::vec((0usize..14, 0usize..14, any::<bool>(), any::<bool>()), 1..8),
    ) {
        const SOURCES: [&str; 14] = [
            "*", "u2@", "u3@", "u9@", "group:g", "group:h", "tag:a", "tag:b", "autogroup:tagged", "autogroup:member",
            "10.1.2.0/24", "100.64.0.0/31", "autogroup:admin", "8.8.4.4",
        ];
        const TARGETS: [&str; 14] = [
            "*", "u2@", "u9@", "group:g", "tag:a", "tag:b", "autogroup:internet", "10.1.2.0/24", "10.2.0.0/16",
            "8.8.8.8", "100.64.0.2", "192.0.2.0/24", "autogroup:tagged", "8.0.0.0/8",
        ];
        let rule = |(source, target, via, posture): &(usize, usize, bool, bool)| {
            let is_network = TARGETS[*target].starts_with(|c: char| c.is_ascii_digit()) || *target == 6;
            let mut rule = serde_json::json!({"src": [SOURCES[*source]], "dst": [TARGETS[*target]], "ip": ["*"]});
            if *via && is_network {
                rule["via"] = serde_json::json!(["tag:a"]);
            }
            if *posture {
                rule["srcPosture"] = serde_json::json!(["posture:p"]);
            }
            rule
        };
        let text = serde_json::json!({
            "groups": {"group:g": ["u2@", "u4@"], "group:h": []},
            "tagOwners": {"tag:a": [], "tag:b": []},
            "postures": {"posture:p": ["node:os == 'linux'"]},
            "grants": rules.iter().map(rule).collect::<Vec<_>>(),
        });
        let policy = Policy::parse(&text.to_string()).unwrap();
        let directory = network(&nodes);
        let mut bindings = Bindings::default();
        bindings.extend(&policy, &directory.users);
        let scope = Scope::new(&policy, &directory, &bindings, 0);
        let idle: Vec<u32> = lint(&scope).iter().filter(|remark| remark.kind == "idle").map(|remark| remark.at).collect();
        let has = |side: &dyn Fn(&Node) -> bool| directory.nodes.iter().any(side);
        let is_idle = |rule: &&Arc<Rule>| {
            !has(&|node| scope.is_source(rule, node)) || !has(&|node| scope.is_destination(rule, node))
        };
        let expected: Vec<u32> = policy.rules.iter().filter(is_idle).map(|rule| rule.at).collect();
        prop_assert_eq!(idle, expected);
    }
}
