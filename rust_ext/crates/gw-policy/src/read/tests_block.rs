//! `tests` and `sshTests`: read here, judged when users and nodes are known.
use super::fields::Fields;
use super::{Reader, array};
use crate::error::Fault;
use crate::model::{SshTest, Test};
use crate::ports;
use crate::selector::Selector;

impl Reader {
    pub(super) fn tests(&mut self, top: &Fields<'_>) -> Result<(), Fault> {
        let Some(item) = top.get("tests") else { return Ok(()) };
        for entry in array(item)? {
            let known = ["src", "user", "proto", "accept", "allow", "deny", "srcPostureAttrs"];
            let fields = Fields::read(entry, &known)?;
            let source = if fields.get("src").is_some() { fields.text("src")?.1 } else { fields.text("user")?.1 };
            let owned = |list: Vec<(u32, &str)>| list.into_iter().map(|(at, text)| (at, text.to_owned())).collect();
            self.policy.tests.push(Test {
                at: entry.at,
                source: source.trim().to_owned(),
                protocol: ports::parse_protocol(fields.text("proto")?.1),
                accept: owned(fields.strings(&["accept", "allow"])?),
                deny: owned(fields.strings(&["deny"])?),
            });
        }
        Ok(())
    }

    pub(super) fn ssh_tests(&mut self, top: &Fields<'_>) -> Result<(), Fault> {
        let Some(item) = top.get("sshTests") else { return Ok(()) };
        for entry in array(item)? {
            let fields = Fields::read(entry, &["src", "dst", "accept", "check", "deny", "srcPostureAttrs"])?;
            let destinations = fields.strings(&["dst"])?;
            for (at, name) in &destinations {
                self.ssh_test_destination(*at, name.trim())?;
            }
            let owned = |list: Vec<(u32, &str)>| list.into_iter().map(|(_, text)| text.trim().to_owned()).collect();
            self.policy.ssh_tests.push(SshTest {
                at: entry.at,
                source: fields.text("src")?.1.trim().to_owned(),
                destinations: destinations.into_iter().map(|(at, text)| (at, text.trim().to_owned())).collect(),
                accept: owned(fields.strings(&["accept"])?),
                check: owned(fields.strings(&["check"])?),
                deny: owned(fields.strings(&["deny"])?),
            });
        }
        Ok(())
    }

    fn ssh_test_destination(&self, at: u32, name: &str) -> Result<(), Fault> {
        let disallowed = match Selector::parse(name) {
            Selector::Tag(tag) if !self.policy.tags.contains(&tag) => {
                let fault = Fault::new(at, format!("SSH tests dst contains unknown tag {name:?}"));
                return Err(fault.hint("expected a tag that tagOwners defines, without a port"));
            }
            Selector::Internet => true,
            Selector::Span(span) => !span.is_single(),
            Selector::Host(host) => self.policy.hosts.get(&host).is_some_and(|span| !span.is_single()),
            _ => false,
        };
        if disallowed {
            let fault = Fault::new(at, format!("SSH tests dst contains disallowed element {name:?}"));
            return Err(fault.hint("expected tags, users, hosts or autogroups of devices"));
        }
        Ok(())
    }
}
