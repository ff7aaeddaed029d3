//! Typed requests: the only texts that reach Asterisk. Every path token is percent-encoded.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::endpoint::Endpoint;

/// Everything but RFC 3986's unreserved characters is encoded, so that a token cannot become a path or a query.
const TOKEN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Types of events that nobody here reads. Filtered at the source they save most of Asterisk's event traffic.
/// An `allowed` list would silence `RESTResponse` as well, hence the negative form.
pub const DISALLOWED_EVENTS: &[&str] = &[
    "ChannelVarset",
    "ChannelDialplan",
    "ChannelConnectedLine",
    "ChannelCallerId",
    "ChannelCreated",
    "ChannelDtmfReceived",
    "ChannelHold",
    "ChannelUnhold",
    "BridgeCreated",
    "BridgeDestroyed",
    "BridgeMerged",
    "BridgeVideoSourceChanged",
    "ChannelEnteredBridge",
    "ChannelLeftBridge",
];

/// One request to Asterisk. Borrowed: it is rendered before `send` returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    /// Makes an outbound channel without dialling it. Wait for its `StasisStart` before using it.
    CreateChannel {
        /// The id it shall have.
        channel_id: &'a str,
        /// Who will be dialled.
        endpoint: Endpoint<'a>,
        /// The id of a `Local` channel's far half; Asterisk chooses one otherwise.
        far_id: Option<&'a str>,
        /// The application it enters.
        app: &'a str,
        /// Arguments of its `StasisStart`, separated by commas.
        app_args: &'a str,
        /// The caller's channel: its language, account and linked id are copied, and its events subscribed to.
        originator: Option<&'a str>,
        /// Channel variables set at creation, such as `PJSIP_HEADER(add,X-…)`.
        variables: &'a [(String, String)],
    },
    /// Subscribes an application to the events of a channel that is not in it.
    Subscribe {
        /// The application.
        app: &'a str,
        /// The channel.
        channel_id: &'a str,
    },
    /// Dials a created channel.
    Dial {
        /// The created channel.
        channel_id: &'a str,
        /// The channel whose caller identity and presentation is copied.
        caller: Option<&'a str>,
        /// Seconds until Asterisk gives up; 0 = never.
        timeout: u32,
    },
    /// Lets an inbound channel that is not answered hear ringing (180).
    Ring {
        /// The channel, which must be in Stasis.
        channel_id: &'a str,
    },
    /// Ends the ringing that [`Self::Ring`] began; in-band ringing would cover what the other side sends.
    StopRinging {
        /// The channel, which must be in Stasis.
        channel_id: &'a str,
    },
    /// Tells an inbound channel that is not answered of early media (183 with SDP). See [`super::Info::has_progress`].
    Progress {
        /// The channel, which must be in Stasis.
        channel_id: &'a str,
    },
    /// Lets nobody hear the channel, and the channel nobody; what Asterisk hands on natively is not touched, nor handed on meanwhile.
    Mute {
        /// The channel, which must be in Stasis.
        channel_id: &'a str,
    },
    /// Takes that back; without effect where nothing is muted.
    Unmute {
        /// The channel, which must be in Stasis.
        channel_id: &'a str,
    },
    /// Answers an inbound channel.
    Answer {
        /// The channel, which must be in Stasis.
        channel_id: &'a str,
    },
    /// Makes a mixing bridge.
    CreateBridge {
        /// The id it shall have.
        bridge_id: &'a str,
        /// A name that tells whose it is.
        name: &'a str,
        /// Whether all media passes through Asterisk's core (`proxy_media`); else Asterisk hands packets on as they are where it can.
        proxied: bool,
    },
    /// Puts channels into a bridge, in this order.
    AddChannels {
        /// The bridge.
        bridge_id: &'a str,
        /// The channels, which must be in Stasis.
        channel_ids: &'a [&'a str],
        /// Whether nobody in the bridge is told who the others are.
        unseen: bool,
    },
    /// Destroys a bridge; its channels stay up.
    DeleteBridge {
        /// The bridge.
        bridge_id: &'a str,
    },
    /// Ends a channel. Without a reason Asterisk tells a ringing carrier 603 Decline.
    HangUp {
        /// The channel.
        channel_id: &'a str,
        /// Why; `None` = Asterisk's default (normal clearing).
        reason: Option<HangUpReason>,
    },
    /// Sends a channel back to the dialplan.
    ContinueInDialplan {
        /// The channel.
        channel_id: &'a str,
        /// Dialplan context.
        context: &'a str,
        /// Extension.
        exten: &'a str,
        /// Priority, from 1.
        priority: u32,
    },
    /// Gives a channel back to the dialplan, behind the `Stasis()` that it is in.
    GiveBack {
        /// The channel.
        channel_id: &'a str,
    },
    /// Sets a channel variable or function.
    SetChannelVariable {
        /// The channel.
        channel_id: &'a str,
        /// Variable or function, such as `TIMEOUT(absolute)`.
        variable: &'a str,
        /// Its value.
        value: &'a str,
    },
    /// Reads a channel variable or function; the answer is a [`super::Variable`].
    GetChannelVariable {
        /// The channel.
        channel_id: &'a str,
        /// Variable or function, such as `CALLERID(pres)`.
        variable: &'a str,
    },
    /// Sets a global variable.
    SetGlobal {
        /// Variable.
        variable: &'a str,
        /// Its value.
        value: &'a str,
    },
    /// Reads a global variable; the answer is a [`super::Variable`].
    GetGlobal {
        /// Variable.
        variable: &'a str,
    },
    /// Lists the modules; the answer is a list of [`super::Module`]s.
    ListModules,
    /// Asks who this Asterisk is; the answer is a [`super::Info`].
    GetInfo,
    /// Tells an application which events not to send.
    SetEventFilter {
        /// The application.
        app: &'a str,
        /// Types of events.
        disallowed: &'a [&'a str],
    },
    /// Reads an application; 404 when it is not registered. The answer is a [`super::Application`].
    GetApplication {
        /// The application.
        app: &'a str,
    },
    /// Reads an endpoint; 404 when Asterisk does not know it. The answer is a [`super::EndpointState`].
    GetEndpoint {
        /// Of PJSIP; a `Local` one is not known to Asterisk before it is dialled.
        endpoint: Endpoint<'a>,
    },
}

/// Why a channel is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HangUpReason {
    /// A Q.850 cause, 0 to 127 (`reason_code`), which Asterisk maps to a SIP status.
    Q850(u8),
    /// One of Asterisk's words (`reason`).
    Word(&'static str),
}

/// Words for requests, in metrics and logs.
pub const REQUEST_KINDS: &[&str] = &[
    "create_channel",
    "subscribe",
    "dial",
    "ring",
    "stop_ringing",
    "progress",
    "mute",
    "unmute",
    "answer",
    "create_bridge",
    "add_channel",
    "delete_bridge",
    "hang_up",
    "continue",
    "give_back",
    "set_variable",
    "get_variable",
    "set_global",
    "get_global",
    "list_modules",
    "get_info",
    "set_event_filter",
    "get_application",
    "get_endpoint",
    "list_channels",
    "list_bridges",
    "get_one",
];

/// A request as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rendered {
    /// A word for metrics and logs, one of [`REQUEST_KINDS`].
    pub(super) kind: &'static str,
    /// HTTP method.
    pub(super) method: &'static str,
    /// Encoded path below `/ari/`, no leading slash.
    pub(super) path: String,
    /// Query parameters, not encoded.
    pub(super) query: Vec<(&'static str, String)>,
    /// JSON body.
    pub(super) body: Option<Value>,
}

/// Path of one object of a collection.
pub(super) fn one_of(collection: &str, id: &str) -> String {
    format!("{collection}/{}", token(id))
}

/// A percent-encoded path token.
fn token(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, TOKEN)
}

impl Rendered {
    /// A read without parameters.
    pub(super) fn get(kind: &'static str, path: String) -> Self {
        Self::new(kind, "GET", path)
    }

    fn new(kind: &'static str, method: &'static str, path: String) -> Self {
        Self { kind, method, path, query: Vec::new(), body: None }
    }

    fn query(mut self, name: &'static str, value: impl ToString) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }
}

impl Request<'_> {
    /// What is put on the wire.
    pub(super) fn render(&self) -> Rendered {
        let get = |kind, path| Rendered::new(kind, "GET", path);
        let post = |kind, path| Rendered::new(kind, "POST", path);
        let delete = |kind, path| Rendered::new(kind, "DELETE", path);
        let channel = |id, verb: &str| format!("channels/{}{verb}", token(id));
        let bridge = |id, verb: &str| format!("bridges/{}{verb}", token(id));
        let global = "asterisk/variable".to_owned();
        match *self {
            Self::CreateChannel { channel_id, endpoint, far_id, app, app_args, originator, variables } => {
                let texts = [("appArgs", Some(app_args)), ("otherChannelId", far_id), ("originator", originator)];
                let ids = json!({"channelId": channel_id, "app": app, "endpoint": endpoint.to_string()});
                post("create_channel", "channels/create".to_owned()).body(create_body(ids, texts, variables))
            }
            Self::Subscribe { app, channel_id } => subscribe(app, channel_id),
            Self::Dial { channel_id, caller, timeout } => dial(channel_id, caller, timeout),
            Self::Ring { channel_id } => post("ring", channel(channel_id, "/ring")),
            Self::StopRinging { channel_id } => delete("stop_ringing", channel(channel_id, "/ring")),
            Self::Progress { channel_id } => post("progress", channel(channel_id, "/progress")),
            Self::Mute { channel_id } => post("mute", channel(channel_id, "/mute")).query("direction", "both"),
            Self::Unmute { channel_id } => delete("unmute", channel(channel_id, "/mute")).query("direction", "both"),
            Self::Answer { channel_id } => post("answer", channel(channel_id, "/answer")),
            Self::CreateBridge { bridge_id, name, proxied } => {
                let kind = if proxied { "mixing,proxy_media" } else { "mixing" };
                post("create_bridge", bridge(bridge_id, "")).query("type", kind).query("name", name)
            }
            Self::AddChannels { bridge_id, channel_ids, unseen } => add_channels(bridge_id, channel_ids, unseen),
            Self::DeleteBridge { bridge_id } => delete("delete_bridge", bridge(bridge_id, "")),
            Self::HangUp { channel_id, reason } => hang_up(delete("hang_up", channel(channel_id, "")), reason),
            Self::ContinueInDialplan { channel_id, context, exten, priority } => {
                let onward = post("continue", channel(channel_id, "/continue"));
                onward.query("context", context).query("extension", exten).query("priority", priority)
            }
            Self::GiveBack { channel_id } => post("give_back", channel(channel_id, "/continue")),
            Self::SetChannelVariable { channel_id, variable, value } => {
                post("set_variable", channel(channel_id, "/variable")).query("variable", variable).query("value", value)
            }
            Self::GetChannelVariable { channel_id, variable } => {
                get("get_variable", channel(channel_id, "/variable")).query("variable", variable)
            }
            Self::SetGlobal { variable, value } => {
                post("set_global", global).query("variable", variable).query("value", value)
            }
            Self::GetGlobal { variable } => get("get_global", global).query("variable", variable),
            Self::ListModules => get("list_modules", "asterisk/modules".to_owned()),
            Self::GetInfo => get("get_info", "asterisk/info".to_owned()),
            Self::SetEventFilter { app, disallowed } => {
                let types: Vec<Value> = disallowed.iter().map(|kind| json!({"type": kind})).collect();
                Rendered::new("set_event_filter", "PUT", format!("applications/{}/eventFilter", token(app)))
                    .body(json!({"disallowed": types}))
            }
            Self::GetApplication { app } => get("get_application", format!("applications/{}", token(app))),
            Self::GetEndpoint { endpoint } => {
                let (technology, name) = endpoint.resource();
                get("get_endpoint", format!("endpoints/{technology}/{}", token(&name)))
            }
        }
    }
}

fn hang_up(hang_up: Rendered, reason: Option<HangUpReason>) -> Rendered {
    match reason {
        Some(HangUpReason::Q850(cause)) => hang_up.query("reason_code", cause),
        Some(HangUpReason::Word(word)) => hang_up.query("reason", word),
        None => hang_up,
    }
}

/// An array: `"a,b"` as one text would be read as one channel's id.
fn add_channels(bridge_id: &str, channel_ids: &[&str], unseen: bool) -> Rendered {
    let mut body = json!({"channel": channel_ids});
    if unseen {
        body["inhibitConnectedLineUpdates"] = json!(true);
    }
    Rendered::new("add_channel", "POST", format!("bridges/{}/addChannel", token(bridge_id))).body(body)
}

/// `texts` that are empty are left out.
fn create_body(mut body: Value, texts: [(&str, Option<&str>); 3], variables: &[(String, String)]) -> Value {
    for (key, text) in texts {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            body[key] = json!(text);
        }
    }
    if !variables.is_empty() {
        body["variables"] = variables.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    }
    body
}

fn dial(channel_id: &str, caller: Option<&str>, timeout: u32) -> Rendered {
    let dial = Rendered::new("dial", "POST", format!("channels/{}/dial", token(channel_id))).query("timeout", timeout);
    match caller {
        Some(caller) => dial.query("caller", caller),
        None => dial,
    }
}

fn subscribe(app: &str, channel_id: &str) -> Rendered {
    Rendered::new("subscribe", "POST", format!("applications/{}/subscription", token(app)))
        .query("eventSource", format!("channel:{channel_id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_cannot_become_a_path_or_a_query() {
        for hostile in ["../../x", "a/b", "a?b=c", "a#b", "a%2Fb", "a b", "ü", ";"] {
            let path = Request::HangUp { channel_id: hostile, reason: None }.render().path;
            let token = path.strip_prefix("channels/").expect("the fixed part");
            assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)), "{token}");
            let back = percent_encoding::percent_decode_str(token).decode_utf8().expect("UTF-8");
            assert_eq!(back, hostile);
        }
    }

    #[test]
    fn create_names_the_endpoint_and_sets_variables() {
        let endpoint = Endpoint::pjsip("acme_1").expect("a name");
        let variables = [("PJSIP_HEADER(add,X-A)".to_owned(), "1".to_owned())];
        let request = Request::CreateChannel {
            channel_id: "c-1",
            endpoint,
            far_id: None,
            app: "cc-1",
            app_args: "leg",
            originator: Some("1700000000.1"),
            variables: &variables,
        };
        let rendered = request.render();
        assert_eq!((rendered.method, rendered.path.as_str()), ("POST", "channels/create"));
        assert_eq!(
            rendered.body,
            Some(json!({"endpoint": "PJSIP/acme_1", "app": "cc-1", "appArgs": "leg", "channelId": "c-1",
                "originator": "1700000000.1", "variables": {"PJSIP_HEADER(add,X-A)": "1"}}))
        );
    }

    #[test]
    fn a_hang_up_carries_its_reason() {
        let query = |reason| Request::HangUp { channel_id: "c", reason }.render().query;
        assert_eq!(query(Some(HangUpReason::Q850(17))), [("reason_code", "17".to_owned())]);
        assert_eq!(query(Some(HangUpReason::Word("busy"))), [("reason", "busy".to_owned())]);
        assert_eq!(query(None), []);
    }
}
