//! PURE: what a node's facts mean, and how to mend what is wrong.

use super::probe::{Dialplan, Facts, Globals, NoAnswer, Reach, is_fresh};
use super::report::Check;
use crate::ari::{Error, Info, TlsFault};
use crate::calls::dispatcher::drained_since;
use crate::config::{Node, Realtime};
use crate::descriptors::{self, MEND, Share};
use crate::inspect;
use crate::needs::{DIALPLAN, Lack, MODULES_BESIDE, Needs};
use crate::store::plan::Address;
use crate::transports::Transports;

const README: &str = "asterisk/README.md";

/// Q.850 causes that our dialplan gives the probes: no answer, for a call that comes by again or timed out; call rejected; switching
/// equipment congestion. A call into an absent context is given none (0), or normal clearing (16).
pub(super) const INBOUND: i16 = 19;
const FALLBACK: i16 = 19;
const CLIENTS: i16 = 21;
const FALLEN_BACK: i16 = 42;

/// Two clocks further apart than this make records of one call disagree visibly.
const MAX_SKEW: i64 = 2;

/// Whether `serve` may have as many file descriptors as it may need, by its hard limit.
pub(super) fn descriptors(needs: descriptors::Needs, limit: Option<u64>) -> Check {
    const SUBJECT: &str = "file descriptors";
    let allowed = limit.map_or_else(|| "no limit".to_owned(), |limit| format!("a hard limit of {limit}"));
    let found = format!("{allowed}; {} are needed at most", needs.all());
    match needs.share(limit) {
        Share { lacking: None, .. } => Check::ok(SUBJECT, found),
        Share { connections, .. } => {
            let found = format!("{found}: the API takes {connections} connections, not {}", needs.connections);
            Check::warning(SUBJECT, found, MEND)
        }
    }
}

/// The checks of one node.
pub(super) fn node(index: usize, node: &Node, realtime: &Realtime, facts: &Facts) -> Vec<Check> {
    let named = |what: &str| format!("{}: {what}", node.name);
    let info = match &facts.info {
        Ok(info) => info,
        Err(error) => return vec![unreachable(&named("ARI"), index, node, error)],
    };
    let mut checks = vec![
        Check::ok(&named("ARI"), format!("{} as user {}", node.url, node.user)),
        version(&named("version"), info),
        skew(&named("clock"), facts.clock_skew),
        dialplan_settings(&named("dialplan settings"), index, node, &facts.globals),
        dialplan_version(&named("dialplan version"), &facts.globals),
        controller(&named("controller"), node, facts),
    ];
    checks.extend(modules(&named("modules"), facts));
    match &facts.dialplan {
        Err(reason) => checks.push(Check::failed(
            &named("event round trip"),
            reason.clone(),
            format!("load res_ari_events and res_http_websocket, and see Asterisk's log ({README}, \"On a node\")"),
        )),
        Ok(dialplan) => checks.extend(dialplan_checks(&named, facts, dialplan)),
    }
    checks.extend(endpoints(&named("endpoints"), realtime, facts));
    checks
}

fn unreachable(subject: &str, index: usize, node: &Node, error: &NoAnswer) -> Check {
    let key = format!("asterisk[{index}]");
    let mend = match error {
        NoAnswer::BadNode(_) => format!("correct that key of {key}"),
        NoAnswer::Request(Error::Rejected { status: 401 | 403, .. }) => format!(
            "give {key}.user and .password as in Asterisk's ari.conf, and permit this host there ({README}, \"On a node\")"
        ),
        NoAnswer::Request(Error::Rejected { .. } | Error::Protocol(_)) => {
            format!("load res_ari and its modules, and leave /ari out of {key}.url ({README}, \"On a node\")")
        }
        NoAnswer::Request(Error::OutcomeUnknown(_)) => format!(
            "something listens there but does not answer: Asterisk hangs or is overloaded (see its log and load; a stopped process \
             goes on with `kill -CONT`), or {key}.url names another program, or the port of TLS without https://"
        ),
        NoAnswer::Request(Error::Tls(fault)) => tls(fault, &key, &node.url),
        NoAnswer::Request(Error::NotSent(_)) => format!(
            "start Asterisk, enable http.conf, and let {key}.url name its bindaddr and bindport ({README}, \"On a node\")"
        ),
    };
    Check::failed(subject, format!("{}: {error}", node.url), mend)
}

/// How a node's TLS is mended.
fn tls(fault: &TlsFault, key: &str, url: &str) -> String {
    match fault {
        TlsFault::Untrusted => {
            format!("let {key}.ca_file name a PEM file of the certificate that signed it, or install that on this host")
        }
        TlsFault::Expired(_) => {
            "give Asterisk (tlscertfile in http.conf) a new certificate, and reload its module http".to_owned()
        }
        TlsFault::NotYet => {
            "set both hosts' clocks right (NTP), or give Asterisk a certificate that is valid now".to_owned()
        }
        TlsFault::WrongName(_) => format!(
            "let {key}.url name the host as the certificate does, or give Asterisk a certificate whose subjectAltName is the host in {url}"
        ),
        TlsFault::Authority => {
            format!(
                "sign a certificate for the server with it, give Asterisk that one, and let {key}.ca_file name the authority's"
            )
        }
        TlsFault::NoTls => {
            format!(
                "let {key}.url name tlsbindaddr and its port of Asterisk's http.conf (tlsenable = yes), or begin with http://"
            )
        }
        TlsFault::Other(_) => {
            "see tlscertfile and tlsprivatekey in Asterisk's http.conf, and Asterisk's log".to_owned()
        }
    }
}

fn version(subject: &str, info: &Info) -> Check {
    let found = info.version.clone();
    match info.version_numbers() {
        Some((major, ..)) if major < 20 => {
            Check::failed(subject, found, "upgrade to Asterisk 22.10.1 or later; 20 is the oldest that works")
        }
        Some(numbers) if numbers < (22, 10, 1) => {
            Check::warning(subject, found, "upgrade to 22.10.1 or later: older ones have known security faults in ARI")
        }
        Some(_) => Check::ok(subject, found),
        None => Check::warning(
            subject,
            found,
            "a version without numbers cannot be judged; use a release, 22.10.1 or later",
        ),
    }
}

fn skew(subject: &str, skew: Option<i64>) -> Check {
    match skew {
        Some(seconds) if seconds.abs() <= MAX_SKEW => Check::ok(subject, "agrees with this host's".to_owned()),
        Some(seconds) => Check::warning(
            subject,
            format!("{} s {} this host's", seconds.abs(), if seconds > 0 { "ahead of" } else { "behind" }),
            "keep both hosts' clocks right (NTP): times in records will disagree; calls are not affected",
        ),
        None => Check::skipped(subject, "the node did not tell its time".to_owned()),
    }
}

/// The dialplan must hand calls to the applications that `serve` registers.
fn dialplan_settings(subject: &str, index: usize, node: &Node, globals: &Globals) -> Check {
    let apps = node.apps.to_string();
    if globals.app.is_empty() && globals.apps.is_empty() {
        let mend = format!("install extensions.conf and `dialplan reload` ({README}, \"On a node\")");
        return Check::failed(subject, "CAPCONDUIT_APP and CAPCONDUIT_APPS are not set".to_owned(), mend);
    }
    let found = format!("CAPCONDUIT_APP={}, CAPCONDUIT_APPS={}", globals.app, globals.apps);
    if globals.app == node.app && globals.apps == apps {
        return Check::ok(subject, found);
    }
    let mend = format!(
        "asterisk[{index}].app is {:?} and .apps is {apps}: make both sides agree (capconduit_site_globals.conf; {README}, \"On a node\")",
        node.app
    );
    Check::failed(subject, found, mend)
}

/// What each version of `extensions.conf` brought that an older copy lacks, the oldest first. The first had no number.
const DIALPLANS: &[(u32, &[&str])] = &[
    (
        2,
        &[
            "it refuses calls whose number, Call-ID or caller is no UTF-8, of which ARI cannot tell (now such a caller hears nothing for up \
             to half a minute, and Asterisk lists no channel meanwhile)",
            "it tells From tag and CSeq, by which the same INVITE by two paths is one call (now it is two, and both count)",
            "it reads every Privacy and Remote-Party-ID header, and From beside P-Asserted-Identity (now callers who ask for privacy there \
             are shown)",
        ],
    ),
    (
        3,
        &[
            "it holds new calls while the controller starts anew (now they take the fallback, and carriers hear 503, at each restart)",
        ],
    ),
];

/// Whether the copy of `extensions.conf` is as old as it may be.
fn dialplan_version(subject: &str, globals: &Globals) -> Check {
    if globals.app.is_empty() && globals.apps.is_empty() {
        return Check::skipped(subject, "the dialplan is not there".to_owned());
    }
    let version = inspect::dialplan_version(&globals.dialplan);
    let lacks: Vec<&str> =
        DIALPLANS.iter().filter(|(since, _)| version < *since).flat_map(|(_, brought)| *brought).copied().collect();
    if lacks.is_empty() {
        return Check::ok(subject, format!("extensions.conf is of version {version}"));
    }
    let found = format!(
        "extensions.conf is an older copy (version {version}); what the present one does: {}",
        lacks.join("; ")
    );
    let mend = if globals.beside.is_empty() {
        format!(
            "copy asterisk/etc/extensions.conf of this release over the node's (what you set stands in capconduit_site_globals.conf) and \
             run `asterisk -rx 'dialplan reload'`; calls go on meanwhile ({README}, \"An older extensions.conf\")"
        )
    } else {
        "run `capconduit asterisk install` on the node; calls go on meanwhile".to_owned()
    };
    Check::warning(subject, found, mend)
}

/// Every module, function and application that the dialplan and the controller need: one line for all that are there, and one for each that
/// is not.
fn modules(subject: &str, facts: &Facts) -> Vec<Check> {
    let running = match &facts.modules {
        Ok(running) => running,
        Err(error) => return vec![Check::skipped(subject, format!("the node does not list its modules: {error}"))],
    };
    let (text, whose) = match &facts.copy {
        Some(copy) => (copy.text.as_str(), copy.path.display().to_string()),
        None => (DIALPLAN, "extensions.conf of this release".to_owned()),
    };
    let lacks = Needs::of(text, MODULES_BESIDE).lacks(running, &facts.unreadable);
    let needed: Vec<&Lack> = lacks.iter().filter(|lack| !lack.optional).collect();
    if needed.is_empty() {
        return vec![Check::ok(subject, format!("all that {whose} and the controller need is there"))];
    }
    let failed = |lack: &&Lack| {
        let why = if lack.why.is_empty() { String::new() } else { format!(": {}", lack.why) };
        let mend = if lack.what.starts_with("module ") {
            format!(
                "load it (asterisk/etc/modules.conf has the line; {README}, \"On a node\"), or restart Asterisk to see why it does not load"
            )
        } else {
            "load the module that brings it, or take it out of extensions.conf".to_owned()
        };
        Check::failed(subject, format!("{} is missing{why}", lack.what), mend)
    };
    needed.iter().map(failed).collect()
}

/// Whether the node can send to every client that has an address.
pub(super) fn transports(subject: &str, transports: &Transports, addresses: &[Address]) -> Vec<Check> {
    let unreached = inspect::unreached(transports, addresses);
    if unreached.is_empty() {
        return vec![Check::ok(subject, format!("{} clients with an address can be sent to", addresses.len()))];
    }
    let mend = "add a transport of that kind to capconduit_site_pjsip.conf and restart Asterisk, or give the client another (sip.transport)";
    unreached.into_iter().map(|(_, text)| Check::failed(subject, text, mend)).collect()
}

/// Whether `serve` is running, and whether calls reach it.
fn controller(subject: &str, node: &Node, facts: &Facts) -> Check {
    let missing: Vec<&str> = facts.apps.iter().filter(|(_, up)| !up).map(|(app, _)| app.as_str()).collect();
    let fresh = is_fresh(&facts.globals);
    if missing.len() == facts.apps.len() && !fresh {
        return Check::skipped(
            subject,
            "`capconduit serve` is not running for this node: calls go to the fallback".to_owned(),
        );
    }
    if !missing.is_empty() {
        let mend = "see the log of `capconduit serve`: its sockets to this node do not come up";
        return Check::failed(subject, format!("applications not registered: {}", missing.join(", ")), mend);
    }
    if drained_since(&facts.globals.drained).is_some() {
        let found = "it is drained: new calls go to the fallback".to_owned();
        return Check::warning(subject, found, format!("`capconduit drain {} --end` takes calls again", node.name));
    }
    if !fresh {
        let mend = format!(
            "see the log of `capconduit serve`: it hangs, or may not write (ari.conf: read_only = no for {})",
            node.user
        );
        return Check::failed(
            subject,
            "registered, but its heartbeat is old: calls go to the fallback".to_owned(),
            mend,
        );
    }
    Check::ok(subject, format!("{} applications registered, heartbeat fresh: calls go to it", facts.apps.len()))
}

fn dialplan_checks(named: &dyn Fn(&str) -> String, facts: &Facts, dialplan: &Dialplan) -> Vec<Check> {
    let round_trip = dialplan.round_trip.map(|took| {
        let found = format!("{:.1} ms from a request to its event", took.as_secs_f64() * 1000.0);
        let subject = named("event round trip");
        if took.as_millis() < 100 {
            Check::ok(&subject, found)
        } else {
            Check::warning(
                &subject,
                found,
                "callers feel it: run the controller near Asterisk, and see whether the node is overloaded",
            )
        }
    });
    let contexts = [
        ("inbound context", "capconduit-inbound", &dialplan.inbound, INBOUND),
        ("fallback context", "capconduit-fallback", &dialplan.fallback, FALLBACK),
        ("clients' context", "capconduit-clients", &dialplan.clients, CLIENTS),
    ];
    let is_empty = !facts.globals.beside.is_empty();
    let contexts = contexts.map(|(what, context, cause, expected)| match cause {
        // Beside a site's calls those of clients shall find no extension.
        Ok(0 | 16) if is_empty && expected == CLIENTS => {
            Check::ok(&named(what), format!("[{context}] has no extension, as it should be beside a site's calls"))
        }
        _ => self::context(&named(what), context, cause, expected),
    });
    let falling_back = falling_back(&named("falling back"), facts, dialplan);
    round_trip.into_iter().chain(contexts).chain([falling_back]).collect()
}

fn context(subject: &str, context: &str, cause: &Result<i16, String>, expected: i16) -> Check {
    let install = format!("install extensions.conf and `dialplan reload` ({README}, \"On a node\")");
    match cause {
        Ok(cause) if *cause == expected => Check::ok(subject, format!("[{context}] is there")),
        Ok(0 | 16) => Check::failed(subject, format!("[{context}] is missing"), install),
        Ok(cause) => {
            let found =
                format!("[{context}] is another one than ours: it ends a probe with cause {cause}, not {expected}");
            Check::failed(subject, found, install)
        }
        Err(reason) => Check::failed(
            subject,
            format!("[{context}] cannot be tried: {reason}"),
            format!("let the ARI user write (ari.conf: read_only = no; {README}, \"On a node\")"),
        ),
    }
}

fn falling_back(subject: &str, facts: &Facts, dialplan: &Dialplan) -> Check {
    match &dialplan.falling_back {
        Some(Ok(FALLEN_BACK)) => {
            Check::ok(subject, "without a controller a call is refused with 503 at once".to_owned())
        }
        Some(Ok(cause)) => Check::failed(
            subject,
            format!("without a controller a call ends with cause {cause}, not {FALLEN_BACK} (503)"),
            format!("install extensions.conf as it is and `dialplan reload` ({README}, \"Heartbeat and fallback\")"),
        ),
        Some(Err(reason)) => Check::failed(
            subject,
            format!("without a controller a call does not end: {reason}"),
            format!("install extensions.conf as it is and `dialplan reload` ({README}, \"Heartbeat and fallback\")"),
        ),
        None if is_fresh(&facts.globals) => {
            Check::skipped(subject, "the controller is running; stop it to try the fallback".to_owned())
        }
        None if !facts.globals.last_resort.is_empty() => {
            let found = format!("not tried: it would call the last resort {}", facts.globals.last_resort);
            Check::skipped(subject, found)
        }
        None => Check::skipped(subject, "not tried: the inbound context is not there".to_owned()),
    }
}

/// One line for all that are well, and one for each that is not.
fn endpoints(subject: &str, realtime: &Realtime, facts: &Facts) -> Vec<Check> {
    let endpoints = &facts.endpoints;
    if endpoints.is_empty() {
        return vec![Check::skipped(
            subject,
            "no active client is configured, so there is none to look for".to_owned(),
        )];
    }
    let well = endpoints.iter().filter(|(_, reach)| *reach == Ok(Reach::Dialable)).count();
    let mut checks = Vec::new();
    if well > 0 {
        checks.push(Check::ok(subject, format!("{well} of {} active clients can be dialled", endpoints.len())));
    }
    for (client, reach) in endpoints {
        match reach {
            Ok(Reach::Dialable) => {}
            Ok(Reach::NoContact) => checks.push(Check::warning(
                subject,
                format!("{client} is known, but has no address"),
                "it has not registered with this node, or does not answer OPTIONS: until then calls go to the next client",
            )),
            Ok(Reach::Unknown) => {
                let mend = if facts.globals.beside.is_empty() {
                    mend_realtime(realtime)
                } else {
                    "`capconduit asterisk check` says why; Asterisk may have to be restarted, for sorcery.conf".to_owned()
                };
                checks.push(Check::failed(subject, format!("Asterisk does not know {client}"), mend));
            }
            Err(reason) => checks.push(Check::failed(
                subject,
                format!("{client}: {reason}"),
                format!("see Asterisk's log; let the ARI user write (ari.conf: read_only = no; {README}, \"On a node\")"),
            )),
        }
    }
    checks
}

fn mend_realtime(realtime: &Realtime) -> String {
    match realtime {
        Realtime::Sqlite { path } => format!(
            "run `capconduit migrate`, which publishes clients to {}; let dbfile in res_config_sqlite3.conf name that file, and \
             Asterisk's user read it ({README}, \"SQLite or PostgreSQL\")",
            path.display()
        ),
        Realtime::Postgres => format!(
            "let res_pgsql.conf name this database and a role that reads ps_* ({README}, \"SQLite or PostgreSQL\")"
        ),
    }
}

#[cfg(test)]
mod tests;
