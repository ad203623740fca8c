//! The `ssh` section.
use super::fields::Fields;
use super::{Reader, Side, array, duration};
use crate::error::Fault;
use crate::model::{SelectorId, SshRule};
use crate::selector::Selector;
use crate::text::{Item, Json};

const LONGEST_CHECK: i64 = 168 * 3600 * 1_000_000_000;
const FIELDS: [&str; 9] =
    ["action", "src", "dst", "users", "checkPeriod", "acceptEnv", "recorder", "enforceRecorder", "srcPosture"];

impl Reader {
    pub(super) fn ssh(&mut self, top: &Fields<'_>) -> Result<(), Fault> {
        let Some(item) = top.get("ssh") else { return Ok(()) };
        for entry in array(item)? {
            let rule = self.ssh_rule(entry)?;
            self.policy.ssh.push(rule);
        }
        Ok(())
    }

    fn ssh_rule(&mut self, entry: &Item) -> Result<SshRule, Fault> {
        let fields = Fields::read(entry, &FIELDS)?;
        let check = action(&fields)?;
        let (users, localparts) = self.logins(&fields)?;
        let accept_env = fields
            .strings(&["acceptEnv"])?
            .into_iter()
            .map(|(at, name)| match name {
                "" => Err(Fault::new(at, "acceptEnv values cannot be empty").hint("expected a variable's name")),
                name => Ok(name.to_owned()),
            })
            .collect::<Result<_, _>>()?;
        check_period(&fields, check)?;
        let mut sources = Vec::new();
        for (at, name) in fields.strings(&["src"])? {
            sources.push(self.ssh_source(at, name)?);
        }
        let mut destinations = Vec::new();
        for (at, name) in fields.strings(&["dst"])? {
            destinations.push(self.ssh_destination(at, name, &sources)?);
        }
        let postures = self.posture_names(&fields, "srcPosture")?;
        Ok(SshRule { at: entry.at, check, sources, destinations, users, localparts, accept_env, postures })
    }

    /// Login names, and the domains of `localpart:*@domain`.
    fn logins(&mut self, fields: &Fields<'_>) -> Result<(Vec<String>, Vec<String>), Fault> {
        let names = fields.strings(&["users"])?;
        if names.is_empty() {
            let at = fields.get("users").map_or(fields.at, |item| item.at);
            return Err(Fault::new(at, "users must be specified").hint("expected login names or autogroup:nonroot"));
        }
        let (mut users, mut localparts) = (Vec::new(), Vec::new());
        for (at, name) in names {
            let name = name.trim();
            if name.is_empty() || name == "*" {
                return Err(Fault::new(at, format!("user {name:?} is not valid")).hint("expected a login name"));
            }
            match name.strip_prefix("localpart:*@") {
                Some(domain) if !domain.is_empty() => {
                    self.policy.domains.push((at, domain.into()));
                    localparts.push(domain.to_owned());
                }
                _ => users.push(name.to_owned()),
            }
        }
        Ok((users, localparts))
    }

    fn ssh_source(&mut self, at: u32, name: &str) -> Result<SelectorId, Fault> {
        let id = self.defined(at, name, Side::Other)?;
        match self.policy.selector(id) {
            Selector::Domain(domain) => {
                let domain = domain.clone();
                self.policy.domains.push((at, domain));
                Ok(id)
            }
            selector if selector.is_identity() => Ok(id),
            _ => Err(Fault::new(at, format!("invalid src {name:?}")).hint("expected users, groups or tags")),
        }
    }

    fn ssh_destination(&mut self, at: u32, name: &str, sources: &[SelectorId]) -> Result<SelectorId, Fault> {
        let invalid =
            || Fault::new(at, format!("invalid dst {name:?}")).hint("expected tags, a user, or autogroup:self");
        let id = self.defined(at, name, Side::Other)?;
        let tagged = sources.iter().any(|id| matches!(self.policy.selector(*id), Selector::Tag(_) | Selector::Tagged));
        match self.policy.selector(id) {
            Selector::Tag(_) | Selector::Tagged => Ok(id),
            Selector::Own | Selector::Member | Selector::Role(_) if tagged => {
                Err(invalid().hint("tagged devices cannot reach users' devices by SSH"))
            }
            Selector::Own | Selector::Member | Selector::Role(_) => Ok(id),
            Selector::User(_) if sources.iter().any(|source| *source != id) => {
                Err(invalid().hint("a user's devices can only be reached by that same user; use autogroup:self"))
            }
            Selector::User(_) => Ok(id),
            _ => Err(invalid()),
        }
    }
}

fn action(fields: &Fields<'_>) -> Result<bool, Fault> {
    let (at, text) = fields.text("action")?;
    match text.trim() {
        "accept" => Ok(false),
        "check" => Ok(true),
        "" => Err(Fault::new(at, "action must be specified").hint("expected \"accept\" or \"check\"")),
        other => {
            Err(Fault::new(at, format!("{other:?} is not a valid action")).hint("expected \"accept\" or \"check\""))
        }
    }
}

fn check_period(fields: &Fields<'_>, check: bool) -> Result<(), Fault> {
    let Some(Item { at, json }) = fields.get("checkPeriod") else { return Ok(()) };
    let text = match json {
        Json::Null => return Ok(()),
        Json::String(text) => &**text,
        _ => return Err(Fault::new(*at, "checkPeriod is not a string").hint("expected a duration such as \"12h\"")),
    };
    if !check {
        return Err(Fault::new(*at, "checkPeriod is only valid with action \"check\""));
    }
    if text == "always" {
        return Ok(());
    }
    let Some(period) = duration::parse(text) else {
        let fault = Fault::new(*at, format!("checkPeriod {text:?} is not a duration"));
        return Err(fault.hint("expected \"always\" or a duration such as \"12h\""));
    };
    let shown = duration::show(period);
    if period < 0 {
        return Err(Fault::new(*at, format!("checkPeriod {shown} must be a positive duration")));
    }
    if period > LONGEST_CHECK {
        return Err(Fault::new(*at, format!("checkPeriod {shown} is above the max (168h)")));
    }
    Ok(())
}
