//! What each section allows.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use config::{Map, Value, ValueKind};
use secrecy::{ExposeSecret, SecretString};
use tracing_subscriber::EnvFilter;

use super::fault::Fault;
use super::paths::{Kind, reachable};
use super::reader::{Section, places, set_in};
use super::settings::{Found, quoted};
use super::{
    Api, Auth, Breaker, Calls, Config, Database, DidFrom, Internal, Journal, Limits, Log, LogFormat, Node, Policy,
    Realtime, Rejections, Sip, Transport,
};
use crate::auth::password;
use crate::routing::breaker::Terms;
use crate::routing::number;

/// SIP statuses that `[rejections]` may name: those that Asterisk can be made to send, and that carriers understand.
pub const REJECTION_CODES: &[u16] = &[403, 404, 408, 410, 480, 484, 486, 488, 500, 503];

/// `data.dir` by default.
pub(super) const DATA_DIR: &str = "data";

/// Reads the whole tree; `file` is how faults name the configuration file.
pub(super) fn read(tree: Map<String, Value>, file: &str, found: &mut Found) -> Config {
    let mut root = Section::new("", Some(Value::new(None, ValueKind::Table(tree))), file, found);
    let [data, database, realtime, api, auth, sip, log, asterisk, calls, rejections] =
        ["data", "database", "realtime", "api", "auth", "sip", "log", "asterisk", "calls", "rejections"]
            .map(|key| root.take(key));
    let [limits, policy, internal, breaker, journal] =
        ["limits", "policy", "internal", "breaker", "journal"].map(|key| root.take(key));
    root.finish();

    let mut data = Section::new("data", data, file, found);
    let data_dir = data.path("dir", Path::new(DATA_DIR), Kind::Directory);
    data.finish();
    let database = read_database(Section::new("database", database, file, found), &data_dir);
    let postgres = !database.url.expose_secret().starts_with("sqlite:");
    Config {
        realtime: read_realtime(Section::new("realtime", realtime, file, found), &data_dir, postgres),
        api: read_api(Section::new("api", api, file, found)),
        auth: read_auth(Section::new("auth", auth, file, found)),
        sip: read_sip(Section::new("sip", sip, file, found)),
        internal: read_internal(Section::new("internal", internal, file, found)),
        log: read_log(Section::new("log", log, file, found)),
        nodes: read_nodes(asterisk, file, found),
        calls: read_calls(Section::new("calls", calls, file, found)),
        breaker: read_breaker(Section::new("breaker", breaker, file, found)),
        rejections: read_rejections(Section::new("rejections", rejections, file, found)),
        limits: read_limits(Section::new("limits", limits, file, found)),
        journal: read_journal(Section::new("journal", journal, file, found)),
        policy: read_policy(Section::new("policy", policy, file, found)),
        data_dir,
        database,
    }
}

fn read_database(mut section: Section<'_>, data_dir: &Path) -> Database {
    let default = || SecretString::from(format!("sqlite://{}", data_dir.join("capconduit.db").display()));
    let url = section.secret("url", "url_file").filter(|url| match check_database_url(url.expose_secret()) {
        Ok(()) => true,
        Err(text) => {
            section.fault("url", text);
            false
        }
    });
    let url = url.unwrap_or_else(default);
    section.show("url", quoted(&without_secrets(url.expose_secret())));
    let max_connections = section.whole("max_connections", 10, 1..=1000);
    let wait = section.seconds("wait_seconds", 5, 1..=600);
    section.finish();
    Database { url, max_connections, wait }
}

/// A database's URL without user, password and options, any of which may hold a secret.
fn without_secrets(url: &str) -> String {
    if url.starts_with("sqlite://") {
        return url.to_owned();
    }
    url.parse::<reqwest::Url>().map_or_else(
        |_| "***".to_owned(),
        |url| {
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            format!("{}://***@{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
        },
    )
}

/// Says what is wrong without the value, which may hold a password.
fn check_database_url(url: &str) -> Result<(), String> {
    if let Some(path) = url.strip_prefix("sqlite://") {
        if path.contains('?') || path.starts_with(":memory:") {
            return Err("is not allowed: sqlite:// takes the path of a file, without options".to_owned());
        }
        return reachable(Path::new(path), Kind::File)
            .map_err(|allowed| format!("is not allowed: after sqlite:// {allowed}"));
    }
    let named = |url: &reqwest::Url| url.host_str().is_some() && url.path().len() > 1;
    if (url.starts_with("postgres://") || url.starts_with("postgresql://")) && url.parse().is_ok_and(|url| named(&url))
    {
        return Ok(());
    }
    Err("is not allowed (not shown: secret): use sqlite://PATH or postgres://USER:PASSWORD@HOST/DATABASE".to_owned())
}

fn read_realtime(mut section: Section<'_>, data_dir: &Path, postgres: bool) -> Realtime {
    let mode = section.text("mode", "sqlite", |text| match text {
        "sqlite" => Ok("sqlite"),
        "postgres" => Ok("postgres"),
        _ => Err("use one of sqlite, postgres".to_owned()),
    });
    if mode == "postgres" {
        if !postgres {
            section.fault(
                "mode",
                "= \"postgres\" needs database.url to be postgres://…, because the ps_* tables live there",
            );
        }
        if section.take("path").is_some() {
            section.fault("path", "belongs to realtime.mode = \"sqlite\": leave it out");
        }
        section.finish();
        return Realtime::Postgres;
    }
    let path = section.path("path", &data_dir.join("realtime").join("realtime.db"), Kind::File);
    section.finish();
    Realtime::Sqlite { path }
}

/// `api.listen` alone.
pub(super) fn api_listen(section: &mut Section<'_>) -> SocketAddr {
    section.text("listen", SocketAddr::from(([127, 0, 0, 1], 8080)), socket_address)
}

fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "use ADDRESS:PORT, such as 127.0.0.1:8080 or [::1]:8080".to_owned())
}

fn read_api(mut section: Section<'_>) -> Api {
    let listen = api_listen(&mut section);
    let mut seconds = |key, default, most| section.seconds(key, default, 1..=most);
    let [header, body] =
        [("header_seconds", 10), ("body_seconds", 10)].map(|(key, default)| seconds(key, default, 600));
    let [idle, stall] = [("idle_seconds", 60), ("stall_seconds", 30)].map(|(key, default)| seconds(key, default, 3600));
    let mut count = |key, default| section.whole(key, default, 1..=100_000) as usize;
    let [connections, connections_per_address] =
        [("connections", 1000), ("connections_per_address", 100)].map(|(key, default)| count(key, default));
    let api = Api {
        listen,
        connections,
        connections_per_address,
        header,
        body,
        idle,
        stall,
        trusted_proxies: section.list("trusted_proxies", str::parse),
        requests_per_second: section.whole("requests_per_second", 50, 1..=100_000),
        burst: section.whole("burst", 100, 1..=1_000_000),
        cors_origins: section.list("cors_origins", origin),
        metrics_listen: section.optional("metrics_listen", socket_address),
        metrics_token: section.secret("metrics_token", "metrics_token_file"),
    };
    if api.metrics_token.as_ref().is_some_and(|token| token.expose_secret().len() < 32) {
        section.fault("metrics_token", "is too short (not shown: secret): use 32 bytes or more");
    }
    if api.metrics_listen == Some(listen) && listen.port() != 0 {
        section
            .fault("metrics_listen", "is the same as api.listen: use another port, or set api.metrics_token instead");
    }
    section.finish();
    api
}

/// An origin exactly as browsers send it (RFC 6454): scheme, host in lower case, and the port where it is not the scheme's own.
fn origin(text: &str) -> Result<String, String> {
    let allowed = || "use an origin as browsers send it, such as https://panel.example.com, without a path".to_owned();
    let url: reqwest::Url = text.parse().map_err(|_| allowed())?;
    let exact = matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text;
    if exact { Ok(text.to_owned()) } else { Err(allowed()) }
}

fn read_auth(mut section: Section<'_>) -> Auth {
    let key = section.secret("key", "key_file");
    if key.as_ref().is_some_and(|key| key.expose_secret().len() < 32) {
        section.fault("key", "is too short (not shown: secret): use 32 bytes or more");
    }
    let admin_username = section.text("admin_username", "admin".to_owned(), |text| {
        if crate::plan::is_username(text) {
            Ok(text.to_owned())
        } else {
            Err("use 1 to 64 of a-z 0-9 . _ -".to_owned())
        }
    });
    let admin_password = section.secret("admin_password", "admin_password_file");
    if let Some(Err(allowed)) = admin_password.as_ref().map(|it| password::check(it.expose_secret(), &admin_username)) {
        section.fault("admin_password", format!("is not allowed (not shown: secret): {allowed}"));
    }
    let sessions_per_user = section.whole("sessions_per_user", 50, 1..=1000).into();
    let tokens_per_user = section.whole("tokens_per_user", 100, 1..=10_000).into();
    let audit_kept = chrono::TimeDelta::days(section.whole("audit_days", 730, 31..=36_500).into());
    section.finish();
    Auth { key, admin_username, admin_password, sessions_per_user, tokens_per_user, audit_kept }
}

fn read_sip(mut section: Section<'_>) -> Sip {
    let sip = Sip {
        allowed_networks: section.list("allowed_networks", str::parse),
        carriers: section.list("carriers", str::parse),
        allow_plaintext_outbound_auth: section.flag("allow_plaintext_outbound_auth", false),
        resolve_every: section.seconds("resolve_every_seconds", 300, 1..=86_400),
    };
    section.finish();
    sip
}

fn read_internal(mut section: Section<'_>) -> Internal {
    let log_call_token = section.secret("log_call_token", "log_call_token_file");
    if log_call_token.as_ref().is_some_and(|token| token.expose_secret().len() < 32) {
        section.fault("log_call_token", "is too short (not shown: secret): use 32 bytes or more");
    }
    let loopback = || ["127.0.0.0/8", "::1"].iter().filter_map(|network| network.parse().ok()).collect();
    let log_call_from = section.list_or("log_call_from", loopback, str::parse);
    let legacy_time_zone = section.text("legacy_time_zone", chrono_tz::UTC, |text| {
        text.parse().map_err(|_| "use an IANA name, such as Europe/London".to_owned())
    });
    section.finish();
    Internal { log_call_token, log_call_from, legacy_time_zone }
}

fn read_log(mut section: Section<'_>) -> Log {
    let format = section.text("format", LogFormat::Auto, word);
    let filter = section.text("filter", Log::DEFAULT_FILTER.to_owned(), |text| {
        let checked = EnvFilter::try_new(text).map(|_| text.to_owned());
        checked.map_err(|error| format!("use a tracing filter, such as info,capconduit=debug ({error})"))
    });
    section.finish();
    Log { format, filter }
}

/// One of a `words!` type's words.
fn word<T: FromStr<Err = String>>(text: &str) -> Result<T, String> {
    text.parse()
}

fn read_nodes(list: Option<Value>, file: &str, found: &mut Found) -> Vec<Node> {
    let whole = list.clone().unwrap_or_default();
    let entries = match list.map(|list| list.kind) {
        None => vec![Value::new(None, ValueKind::Table(Map::new()))],
        Some(ValueKind::Array(entries)) if !entries.is_empty() => entries,
        Some(_) => {
            let place = set_in(&whole, file);
            let text = format!("must be a list of at least one node, each headed [[asterisk]] ({place})");
            found.faults.push(Fault::new("asterisk", text));
            return Vec::new();
        }
    };
    // The environment named a later entry than there are.
    let variables: Vec<String> = places(&whole).into_iter().flatten().collect();
    let missing = entries.iter().enumerate().filter(|(_, entry)| matches!(entry.kind, ValueKind::Nil));
    for (index, _) in missing {
        let text =
            format!("is missing, but {} name later entries: number them from 0 without gaps", variables.join(", "));
        found.faults.push(Fault::new(format!("asterisk[{index}]"), text));
    }
    let nodes: Vec<Node> = entries
        .into_iter()
        .enumerate()
        .filter(|(_, entry)| !matches!(entry.kind, ValueKind::Nil))
        .map(|(index, entry)| read_node(Section::new(&format!("asterisk[{index}]"), Some(entry), file, found)))
        .collect();
    // A refused name has become the default one, which would look like a twin.
    if found.faults.is_empty() {
        refuse_twins(&nodes, &mut found.faults);
    }
    nodes
}

fn read_node(mut section: Section<'_>) -> Node {
    let node = Node {
        name: section.text("name", "asterisk".to_owned(), token),
        url: section.text("url", "http://127.0.0.1:8088".to_owned(), base_url),
        ca_file: section.optional("ca_file", ca_file),
        user: section.text("user", "capconduit".to_owned(), user),
        password: section.secret("password", "password_file").unwrap_or_default(),
        app: section.text("app", "capconduit".to_owned(), token),
        apps: u16::try_from(section.whole("apps", 1, 1..=16)).unwrap_or(1),
        transport: section.text("transport", Transport::Auto, word),
        did_from: section.text("did_from", DidFrom::RequestUri, word),
        default_region: section.optional("default_region", region),
        prefix_rules: section.pairs("prefix_rules", prefix_rule),
        fallback_spool: section.optional("fallback_spool", spool),
    };
    if node.ca_file.is_some() && !node.is_https() {
        section.fault("ca_file", "belongs to a url of https://: leave it out");
    }
    section.finish();
    node
}

fn ca_file(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("use the path of a PEM file".to_owned()) } else { Ok(PathBuf::from(text)) }
}

fn spool(text: &str) -> Result<PathBuf, String> {
    // It need not be there yet, and may be unreadable for a while: that is the importer's to tell.
    let path = Path::new(text);
    let fits = path.file_name().is_some() && !text.ends_with('/');
    if fits { Ok(path.to_owned()) } else { Err("use the path of the file that CAPCONDUIT_SPOOL names".to_owned()) }
}

/// Records and the fold of events are by node name; Asterisk gives an application to the last socket that asks for it.
fn refuse_twins(nodes: &[Node], faults: &mut Vec<Fault>) {
    let (mut names, mut applications, mut spools) = (HashMap::new(), HashMap::new(), HashMap::new());
    for (index, node) in nodes.iter().enumerate() {
        if let Some(first) = names.insert(&node.name, index) {
            let text = format!("= {:?} is also asterisk[{first}].name: give every node a name of its own", node.name);
            faults.push(Fault::new(format!("asterisk[{index}].name"), text));
        }
        if let Some(first) = applications.insert((&node.url, &node.app), index) {
            let text =
                format!("= {:?} is also asterisk[{first}].app on the same url: each socket needs its own", node.app);
            faults.push(Fault::new(format!("asterisk[{index}].app"), text));
        }
        let spool = node.fallback_spool.as_ref();
        if let Some(first) = spool.and_then(|spool| spools.insert(spool, index)) {
            let text =
                "is that of another node, whose calls would be recorded as this one's, too: give each node's own file";
            faults.push(Fault::new(
                format!("asterisk[{index}].fallback_spool"),
                format!("= asterisk[{first}].fallback_spool {text}"),
            ));
        }
    }
}

fn token(text: &str) -> Result<String, String> {
    let fits =
        (1..=40).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if fits { Ok(text.to_owned()) } else { Err("use 1 to 40 of A-Z a-z 0-9 _ -".to_owned()) }
}

fn user(text: &str) -> Result<String, String> {
    // A colon would end the user in HTTP's basic authentication (RFC 7617).
    let fits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b':');
    if fits { Ok(text.to_owned()) } else { Err("use the ARI user's name, without colon or spaces".to_owned()) }
}

fn base_url(text: &str) -> Result<String, String> {
    let allowed = || "use http://HOST:PORT or https://HOST:PORT, as in Asterisk's http.conf".to_owned();
    let url: reqwest::Url = text.parse().map_err(|_| allowed())?;
    let plain = matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none();
    if !url.username().is_empty() || url.password().is_some() {
        return Err("leave user and password out of the URL; they are keys of their own".to_owned());
    }
    if !plain || url.host_str().is_none() {
        return Err(allowed());
    }
    let text = text.trim_end_matches('/');
    if text.ends_with("/ari") {
        return Err("leave /ari out".to_owned());
    }
    Ok(text.to_owned())
}

fn region(text: &str) -> Result<String, String> {
    if number::is_region(text) {
        return Ok(text.to_owned());
    }
    let allowed = match text {
        "UK" => "it is no ISO 3166-1 country known to the library of numbers; the United Kingdom is GB",
        _ if text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase()) => {
            "it is no ISO 3166-1 country known to the library of numbers; use two capital letters such as GB"
        }
        _ => "use a country's two capital letters (ISO 3166-1), such as GB",
    };
    Err(allowed.to_owned())
}

fn prefix_rule(from: &str, to: &str) -> Result<(), String> {
    let digits = |text: &str| {
        let digits = text.strip_prefix('+').unwrap_or(text);
        digits.len() <= 15 && digits.bytes().all(|b| b.is_ascii_digit())
    };
    if !from.is_empty() && digits(from) && digits(to) {
        Ok(())
    } else {
        Err("use leading digits and what replaces them, such as \"00\" = \"+\" (at most a + and 15 digits)".to_owned())
    }
}

fn read_calls(mut section: Section<'_>) -> Calls {
    let millis = |whole: u32| Duration::from_millis(whole.into());
    let count = |whole: u32| usize::try_from(whole).unwrap_or(usize::MAX);
    let calls = Calls {
        progress_timeout: millis(section.whole("progress_timeout_ms", 5000, 100..=60_000)),
        setup_budget: section.seconds("setup_budget_seconds", 60, 1..=600),
        max_attempts: section.whole("max_attempts", 10, 1..=100),
        max_duration: section.seconds("max_duration_seconds", 7200, 1..=86_400),
        request_timeout: millis(section.whole("request_timeout_ms", 2000, 50..=60_000)),
        event_queue: count(section.whole("event_queue", 65_536, 16..=1_048_576)),
        max_live: count(section.whole("max_live", 5000, 1..=100_000)),
        drain: section.seconds("drain_seconds", 30, 0..=86_400),
    };
    section.finish();
    calls
}

fn read_breaker(mut section: Section<'_>) -> Breaker {
    let mut terms = |[failures, shortest, longest]: [&'static str; 3], default: u32| {
        let failures = section.whole(failures, 5, 0..=10_000);
        let pause = section.seconds(shortest, default, 1..=3600);
        let pause_max = section.seconds_or(longest, pause.max(Duration::from_secs(60)), 1..=3600);
        if pause_max < pause {
            let [less, more] = [pause_max, pause].map(|pause| pause.as_secs_f64());
            section.fault(longest, format!("= {less} is less than {shortest} = {more}: use as much or more"));
        }
        Terms { failures, pause, pause_max }
    };
    let client = terms(["client_failures", "client_pause_seconds", "client_pause_max_seconds"], 10);
    let node = terms(["node_failures", "node_pause_seconds", "node_pause_max_seconds"], 5);
    section.finish();
    Breaker { client, node }
}

fn read_rejections(mut section: Section<'_>) -> Rejections {
    let mut code = |key, default| section.one_of(key, default, REJECTION_CODES);
    let rejections = Rejections {
        unknown_did: code("unknown_did", 404),
        inactive_campaign: code("inactive_campaign", 404),
        all_full: code("all_full", 486),
        no_active_link: code("no_active_link", 480),
        nobody_answered: code("nobody_answered", 480),
        overloaded: code("overloaded", 503),
    };
    section.finish();
    rejections
}

fn read_journal(mut section: Section<'_>) -> Journal {
    let max_records = section.whole("max_records", 1_000_000, 1_000..=100_000_000).into();
    let min_free_bytes = u64::from(section.whole("min_free_mb", 200, 10..=1_000_000)) << 20;
    section.finish();
    Journal { max_records, min_free_bytes }
}

fn read_limits(mut section: Section<'_>) -> Limits {
    let mut count = |key, default| usize::try_from(section.whole(key, default, 1..=10_000)).unwrap_or(usize::MAX);
    let (streams, streams_per_user) = (count("streams", 200), count("streams_per_user", 5));
    let stream_backlog = count("stream_backlog", 4096);
    let (exports, exports_per_user) = (count("exports", 4), count("exports_per_user", 2));
    let (reports, reports_per_user) = (count("reports", 6), count("reports_per_user", 2));
    let export = section.seconds("export_seconds", 3600, 1..=86_400);
    let report = section.seconds("report_seconds", 20, 1..=3600);
    let report_days = section.whole("report_days", 400, 1..=36_500);
    section.finish();
    Limits {
        streams,
        streams_per_user,
        stream_backlog,
        exports,
        exports_per_user,
        export,
        reports,
        reports_per_user,
        report,
        report_days,
    }
}

fn read_policy(mut section: Section<'_>) -> Policy {
    let policy = Policy { sellers_may_create_dids: section.flag("sellers_may_create_dids", true) };
    section.finish();
    policy
}
