//! `rust_ext.policy`: the policy language, and the engine that is compiled from it.
use pyo3::prelude::*;

#[pymodule]
#[pyo3(name = "policy")]
pub mod policy {
    use crate::errors;
    use crate::policy_rows::{AccessRow, NodeRow, UserRow, address, approved, node, share, span, user};
    use gw_policy::access::parse_ip;
    use gw_policy::aside::drop_aside;
    use gw_policy::directory::{Directory, Tailnet};
    use gw_policy::engine::{Boxes, Effect, Explanation, Limit, Matrix, Numbers, Standpoint};
    use gw_policy::scope::Bindings;
    use pyo3::exceptions::PyBufferError;
    use pyo3::ffi;
    use pyo3::prelude::*;
    use pyo3::types::{PyBytes, PyIterator};
    use roaring::RoaringBitmap;
    use std::collections::{HashMap, HashSet};
    use std::ffi::c_int;
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

    /// Classes, same owner, prefixes, destinations, ports, protocols, deny, until, the rule it comes from.
    type FilterRow = (Vec<u32>, bool, Vec<String>, Vec<String>, Vec<(u16, u16)>, Vec<u8>, bool, i64, u64);
    /// Group or nothing, schedule, end, open, next turn.
    type LimitRow = (String, String, i64, bool, i64);
    /// Section, index, line, column, whether source, target and ports match; open, limits, conditions, what is reported.
    type RuleRow =
        ((&'static str, u32, u32, u32, bool, bool, bool), bool, Vec<LimitRow>, Vec<(String, bool)>, Vec<String>);
    /// Classes or nodes, and until when each is seen.
    type EndRows = Vec<(u32, i64)>;
    /// Class of identity, class of addresses, owner.
    type StandpointRow = (u32, u32, i64);
    /// Rows of a chunk, the columns given (none: all), their cells, the pool of lists.
    type ChunkRow = (Words, Words, Words, Words);

    /// Words that readers see in place, through the buffer protocol.
    #[pyclass(frozen, module = "rust_ext.policy")]
    struct Words(Box<dyn AsRef<[u32]> + Send + Sync>);

    impl Words {
        fn new(words: impl AsRef<[u32]> + Send + Sync + 'static) -> Self {
            Self(Box::new(words))
        }
    }

    #[pymethods]
    impl Words {
        fn __len__(&self) -> usize {
            (*self.0).as_ref().len()
        }

        // SAFETY: `view` comes from the interpreter; the words live as long as the object that the view refers to,
        // and nothing writes to them.
        unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
            let words = (*slf.get().0).as_ref();
            let (data, length) = (words.as_ptr().cast_mut().cast(), (words.len() * 4) as ffi::Py_ssize_t);
            // SAFETY: as above.
            match unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), data, length, 1, flags) } {
                0 => Ok(()),
                _ => Err(PyErr::take(slf.py()).unwrap_or_else(|| PyBufferError::new_err("no buffer"))),
            }
        }
    }

    #[pyclass(frozen, module = "rust_ext.policy")]
    struct Axis(gw_policy::engine::Axis);

    #[pymethods]
    impl Axis {
        /// Whether two addresses are of IPv6, and their places in boxes; None where they are of two families.
        fn place(&self, source: &str, target: &str) -> PyResult<Option<(bool, u32, u32)>> {
            let (source, target) = (address(source)?, address(target)?);
            let alike = source.v6 == target.v6;
            Ok(alike.then(|| (source.v6, self.0.place(source), self.0.place(target))))
        }
    }

    #[pyclass(frozen, module = "rust_ext.policy")]
    struct Policy(Arc<gw_policy::Policy>, Arc<str>);

    #[pymethods]
    impl Policy {
        #[staticmethod]
        fn parse(py: Python<'_>, text: String) -> PyResult<Self> {
            let policy = py.detach(|| gw_policy::Policy::parse(&text)).map_err(errors::policy)?;
            Ok(Self(Arc::new(policy), text.into()))
        }

        #[staticmethod]
        fn own_devices() -> Self {
            Self(Arc::new(gw_policy::Policy::own_devices()), "".into())
        }

        #[getter]
        fn allows_everything(&self) -> bool {
            self.0.allows_everything
        }

        /// Section, index, line, column and id of each rule.
        fn rules(&self) -> Vec<(&'static str, u32, u32, u32, u64)> {
            let place = |rule: &gw_policy::model::Rule| {
                let (line, column) = self.0.position(rule.at);
                (rule.section.name(), rule.index, line, column, rule.id)
            };
            self.0.rules.iter().map(|rule| place(rule)).collect()
        }

        fn __len__(&self) -> usize {
            self.0.rules.len()
        }
    }

    #[pyclass(frozen, module = "rust_ext.policy")]
    struct Engine(Mutex<gw_policy::Engine>, Mutex<Arc<str>>);

    impl Engine {
        /// A poisoned lock means that a panic left the engine behind half changed: it gives no more answers.
        fn lock(&self) -> MutexGuard<'_, gw_policy::Engine> {
            self.0.lock().expect("no change of the engine was broken off")
        }
    }

    impl Drop for Engine {
        /// Taking a large engine apart takes its time, and nobody waits for it.
        fn drop(&mut self) {
            let engine = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
            if engine.is_large() {
                drop_aside(std::mem::take(engine));
            }
        }
    }

    #[pymethods]
    impl Engine {
        /// Compile over users and nodes given as rows, as of a time.
        #[staticmethod]
        fn build(
            py: Python<'_>,
            policy: &Policy,
            users: Vec<UserRow>,
            nodes: &Bound<'_, PyIterator>,
            pools: Vec<String>,
            bindings: HashMap<String, i64>,
            at: i64,
        ) -> PyResult<Self> {
            let mut said = HashSet::new();
            let nodes = nodes.try_iter()?.map(|row| {
                let mut node = node(row?.extract()?)?;
                share(&mut said, &mut node);
                Ok(node)
            });
            let nodes = nodes.collect::<PyResult<_>>()?;
            let mut directory = Directory::new(users.into_iter().map(user).collect(), nodes, Tailnet::default());
            directory.pools = pools.iter().map(|text| span(text)).collect::<PyResult<_>>()?;
            let bindings = Bindings(bindings.into_iter().map(|(name, id)| (name.into(), id)).collect());
            let (rules, text) = (policy.0.clone(), policy.1.clone());
            let engine = py.detach(|| gw_policy::Engine::build(rules, directory, bindings, at));
            Ok(Self(Mutex::new(engine), Mutex::new(text)))
        }

        /// Compile over a directory in the shape of the replay contract's `input`.
        #[staticmethod]
        fn over_json(py: Python<'_>, policy: &Policy, input: &str, at: i64) -> PyResult<Self> {
            let input = serde_json::from_str(input).map_err(|error| errors::invalid(error.to_string()))?;
            let directory = Directory::from_json(&input).map_err(errors::invalid)?;
            let (rules, text) = (policy.0.clone(), policy.1.clone());
            let engine = py.detach(|| gw_policy::Engine::build(rules, directory, Bindings::default(), at));
            Ok(Self(Mutex::new(engine), Mutex::new(text)))
        }

        /// Raise if the domains or the own tests of the policy, or of one in its place at a time, fail over this
        /// directory. What that takes of the engine is taken at once: the tests themselves hold nobody up.
        #[pyo3(signature = (instead=None))]
        fn check(&self, py: Python<'_>, instead: Option<(PyRef<'_, Policy>, i64)>) -> PyResult<()> {
            let (policy, text, at) = match instead {
                Some((policy, at)) => (policy.0.clone(), policy.1.clone(), at),
                None => {
                    let text = self.1.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    let engine = self.lock();
                    (engine.policy().clone(), text, engine.at())
                }
            };
            py.detach(|| {
                let grounds = self.lock().grounds(&policy);
                grounds.map_or(Ok(()), |grounds| grounds.check(&policy, &text, at))
            })
            .map_err(errors::policy)
        }

        fn update<'py>(&self, py: Python<'py>, row: NodeRow) -> PyResult<Bound<'py, PyBytes>> {
            let node = node(row)?;
            Ok(portable(py, &self.lock().update(node)))
        }

        fn leave<'py>(&self, py: Python<'py>, id: u32) -> Bound<'py, PyBytes> {
            portable(py, &self.lock().leave(id))
        }

        fn would_update<'py>(&self, py: Python<'py>, row: NodeRow) -> PyResult<Bound<'py, PyBytes>> {
            let node = node(row)?;
            Ok(portable(py, &self.lock().would_update(&node)))
        }

        fn would_leave<'py>(&self, py: Python<'py>, id: u32) -> Bound<'py, PyBytes> {
            portable(py, &self.lock().would_leave(id))
        }

        fn set_users<'py>(&self, py: Python<'py>, users: Vec<UserRow>) -> Bound<'py, PyBytes> {
            let users = users.into_iter().map(user).collect();
            portable(py, &self.lock().set_users(users))
        }

        /// Whether only some rules differ.
        fn can_edit(&self, py: Python<'_>, policy: &Policy) -> bool {
            let new = policy.0.clone();
            py.detach(|| self.lock().can_edit(&new))
        }

        /// Exchange the policy where only some rules differ; None when it has to be compiled anew.
        fn edit<'py>(&self, py: Python<'py>, policy: &Policy) -> Option<Bound<'py, PyBytes>> {
            let new = policy.0.clone();
            let (affected, old) = py.detach(|| self.lock().edit(new))?;
            let mut text = self.1.lock().unwrap_or_else(PoisonError::into_inner);
            // Taking a large policy apart takes its time, and nobody waits for it.
            drop_aside((old, std::mem::replace(&mut *text, policy.1.clone())));
            Some(portable(py, &affected))
        }

        /// Whom `edit` may concern, at most; None where it does nothing.
        fn concerned<'py>(&self, py: Python<'py>, policy: &Policy) -> Option<Bound<'py, PyBytes>> {
            let new = policy.0.clone();
            let concerned = py.detach(|| self.lock().concerned(&new))?;
            Some(portable(py, &concerned))
        }

        /// Whose maps are others when this engine takes the place of another, which classes are known by before and
        /// after, by node.
        fn exchanged<'py>(
            &self,
            py: Python<'py>,
            before: &Self,
            known: Numbers,
            numbers: Numbers,
        ) -> PyResult<Bound<'py, PyBytes>> {
            if std::ptr::eq(self, before) {
                return Err(errors::invalid("an engine does not take its own place"));
            }
            let affected = py.detach(|| self.lock().exchanged(&mut before.lock(), &known, &numbers));
            Ok(portable(py, &affected))
        }

        /// Who was put into a class since this was asked last.
        fn take_moved<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
            portable(py, &self.lock().take_moved())
        }

        /// Whether filters may tell nodes of one class apart.
        fn tells_nodes_apart(&self) -> bool {
            self.lock().tells_nodes_apart()
        }

        /// Whether standpoints tell owners apart.
        fn tells_owners(&self) -> bool {
            self.lock().tells_owners()
        }

        #[getter]
        fn at(&self) -> i64 {
            self.lock().at()
        }

        /// Come to a time; who is affected by the windows that open or close.
        fn turn<'py>(&self, py: Python<'py>, at: i64) -> Bound<'py, PyBytes> {
            let affected = py.detach(|| self.lock().turn(at));
            portable(py, &affected)
        }

        fn next_turn(&self, py: Python<'_>, after: i64) -> i64 {
            py.detach(|| self.lock().next_turn(after))
        }

        /// Replace the access that was approved beside the policy; who is affected.
        fn set_access<'py>(&self, py: Python<'py>, access: Vec<AccessRow>) -> PyResult<Bound<'py, PyBytes>> {
            let access = access.into_iter().map(approved).collect::<PyResult<_>>()?;
            let affected = py.detach(|| self.lock().set_access(access));
            Ok(portable(py, &affected))
        }

        /// Name, approvers and longest time of the first request rule that covers what is asked for.
        fn request(&self, user: i64, target: u32, ip: Vec<String>) -> PyResult<Option<(String, Vec<i64>, u64)>> {
            let ip = ip.iter().map(|text| parse_ip(text).map_err(errors::invalid)).collect::<PyResult<Vec<_>>>()?;
            let found = self.lock().request(user, target, &ip);
            Ok(found.map(|rule| (rule.name.into(), rule.approvers, rule.longest_s)))
        }

        fn bindings(&self) -> HashMap<String, i64> {
            self.lock().bindings().0.iter().map(|(name, id)| (name.to_string(), *id)).collect()
        }

        fn class_of(&self, id: u32) -> PyResult<u32> {
            self.lock().class_of(id).ok_or_else(|| errors::unknown_node(id))
        }

        fn visible<'py>(&self, py: Python<'py>, id: u32) -> Bound<'py, PyBytes> {
            portable(py, &self.lock().visible(id))
        }

        /// Where every node sees from, by id.
        fn standpoints(&self) -> Vec<(u32, StandpointRow)> {
            self.lock().standpoints().map(|(id, found)| (id, standpoint_row(found))).collect()
        }

        fn standpoint(&self, id: u32) -> PyResult<StandpointRow> {
            self.lock().standpoint(id).map(standpoint_row).ok_or_else(|| errors::unknown_node(id))
        }

        fn seen_from<'py>(&self, py: Python<'py>, id: u32) -> Bound<'py, PyBytes> {
            portable(py, &self.lock().seen_from(id))
        }

        fn native_filter(&self, id: u32) -> Vec<FilterRow> {
            let rules = self.lock().native_filter(id);
            rules
                .into_iter()
                .map(|rule| {
                    let (sources, ports) = ((rule.classes, rule.same_owner, rule.prefixes), rule.ports);
                    let (classes, same_owner, prefixes) = sources;
                    let (protocols, deny, until) = (rule.protocols, rule.deny, rule.until);
                    (classes, same_owner, prefixes, rule.destinations, ports, protocols, deny, until, rule.rule)
                })
                .collect()
        }

        /// Until when a node sees classes and nodes that it will not see for good.
        fn sight_ends(&self, id: u32) -> (EndRows, EndRows) {
            let ends = self.lock().sight_ends(id);
            (ends.classes, ends.nodes)
        }

        /// Who may be told of a node apart from its class, where anything ends.
        fn told_apart<'py>(&self, py: Python<'py>, id: u32) -> Bound<'py, PyBytes> {
            portable(py, &self.lock().told_apart(id))
        }

        fn packet_filter(&self, id: u32) -> PyResult<String> {
            let engine = self.lock();
            let rules = engine.packet_filter(id).ok_or_else(|| errors::unknown_node(id))?;
            Ok(gw_policy::shapes::filter(&rules).to_string())
        }

        fn ssh_rules(&self, id: u32) -> PyResult<String> {
            let rules = self.lock().logins(id).ok_or_else(|| errors::unknown_node(id))?;
            Ok(gw_policy::shapes::logins(&rules).to_string())
        }

        fn capabilities(&self, id: u32) -> PyResult<String> {
            let found = self.lock().capabilities(id).ok_or_else(|| errors::unknown_node(id))?;
            Ok(serde_json::Value::from(found).to_string())
        }

        #[pyo3(signature = (source, target, protocol, port, beside=false))]
        fn decide_address(&self, source: &str, target: &str, protocol: u8, port: u16, beside: bool) -> PyResult<bool> {
            let (source, target) = (address(source)?, address(target)?);
            Ok(self.lock().decide_address(source, target, protocol, port, beside))
        }

        /// One byte, 0 or 1, for each pair of nodes and each protocol and port, pair by pair.
        fn decide_each<'py>(
            &self,
            py: Python<'py>,
            pairs: Vec<(u32, u32)>,
            probes: Vec<(u8, u16)>,
        ) -> Bound<'py, PyBytes> {
            let answers = py.detach(|| self.lock().decide_each(&pairs, &probes));
            let answers: Vec<u8> = answers.into_iter().map(u8::from).collect();
            PyBytes::new(py, &answers)
        }

        /// The rules between prefixes that accept now, of IPv4 and of IPv6; None where they are too many.
        fn boxes(&self, py: Python<'_>) -> Option<(Words, Words, Axis)> {
            let Boxes { four, six, axis } = py.detach(|| self.lock().boxes())?;
            Some((Words::new(four), Words::new(six), Axis(axis)))
        }

        /// Whether it is allowed at a time, and the rules that say so or come nearest; None for an unknown node.
        fn explain(&self, source: u32, target: u32, protocol: u8, port: u16, at: i64) -> Option<(bool, Vec<RuleRow>)> {
            let verdict = self.lock().explain(source, target, protocol, port, at)?;
            Some((verdict.allowed, verdict.rules.into_iter().map(rule_row).collect()))
        }

        /// The same between two addresses.
        fn explain_address(
            &self,
            source: &str,
            target: &str,
            protocol: u8,
            port: u16,
            at: i64,
        ) -> PyResult<(bool, Vec<RuleRow>)> {
            let (source, target) = (address(source)?, address(target)?);
            let verdict = self.lock().explain_address(source, target, protocol, port, at);
            Ok((verdict.allowed, verdict.rules.into_iter().map(rule_row).collect()))
        }

        /// Kind, message, line and column of what is legal and probably not meant; line 0 for the whole.
        fn lint(&self, py: Python<'_>) -> Vec<(&'static str, String, u32, u32)> {
            py.detach(|| {
                let engine = self.lock();
                let directory = engine.directory();
                let scope = engine.scope(&directory);
                let place = |at: u32| if at == 0 { (0, 0) } else { engine.policy().position(at) };
                let remarks = gw_policy::lint::lint(&scope).into_iter();
                remarks.map(|remark| (remark.kind, remark.message, place(remark.at).0, place(remark.at).1)).collect()
            })
        }

        fn owns_tag(&self, user: i64, tag: &str) -> bool {
            self.lock().owns_tag(user, tag)
        }

        fn tags(&self) -> Vec<String> {
            self.lock().policy().tag_owners.iter().map(|(tag, _)| tag.to_string()).collect()
        }

        fn approves(&self, row: NodeRow, route: &str) -> PyResult<bool> {
            let (node, route) = (node(row)?, span(route)?);
            Ok(self.lock().approves(&node, &route))
        }

        /// Whether the policy has a rule with this id.
        fn has_rule(&self, id: u64) -> bool {
            self.lock().policy().places.contains_key(&id)
        }

        fn has_denials(&self) -> bool {
            self.lock().has_denials()
        }

        /// What changed in the cells, of what is accepted or of what is denied: whether all is new, words per row,
        /// chunks, what holds beside rows, port sets, slots.
        #[allow(clippy::type_complexity)]
        fn sync(
            &self,
            py: Python<'_>,
            denials: bool,
            anew: bool,
        ) -> (bool, usize, Vec<ChunkRow>, ChunkRow, Words, Words, Words) {
            let effect = if denials { Effect::Deny } else { Effect::Accept };
            let Matrix { full, stride, chunks, sides, port_heads, port_details, slots } =
                py.detach(|| self.lock().sync(effect, anew));
            let row = |chunk: gw_policy::engine::RowChunk| {
                let (rows, columns) = (Words::new(chunk.rows), Words::new(chunk.columns));
                (rows, columns, Words::new(chunk.cells), Words::new(chunk.pool))
            };
            let chunks = chunks.into_iter().map(row).collect();
            let [port_heads, port_details, slots] = [port_heads, port_details, slots].map(Words::new);
            (full, stride, chunks, row(sides), port_heads, port_details, slots)
        }
    }

    /// Answer one line of the replay contract.
    #[pyfunction]
    fn replay(py: Python<'_>, line: String) -> PyResult<String> {
        py.detach(|| gw_policy::replay::line(&line)).map_err(errors::invalid)
    }

    fn portable<'py>(py: Python<'py>, set: &RoaringBitmap) -> Bound<'py, PyBytes> {
        let mut bytes = Vec::with_capacity(set.serialized_size());
        set.serialize_into(&mut bytes).expect("writing to memory does not fail");
        PyBytes::new(py, &bytes)
    }

    fn rule_row(rule: Explanation) -> RuleRow {
        let limit = |known: Limit| (known.of, known.schedule, known.expires, known.open, known.turns);
        let place = (rule.section.name(), rule.index, rule.line, rule.column);
        let (section, index, line, column) = place;
        let fits = (section, index, line, column, rule.source_matches, rule.target_matches, rule.ports_match);
        (fits, rule.open, rule.limits.into_iter().map(limit).collect(), rule.conditions, rule.reported)
    }

    fn standpoint_row(standpoint: Standpoint) -> StandpointRow {
        (standpoint.identity, standpoint.place, standpoint.owner)
    }
}
