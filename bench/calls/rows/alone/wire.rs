//! What the fake Asterisk says, as text: channels and events as the real one spells them, put together from parts that were made before.

use std::fmt::Write as _;
use std::io::{self, ErrorKind};

use tokio::net::TcpStream;

/// The controller's application, by its default name.
pub(super) const APP: &str = "capconduit-1";
/// What stands before an event's channel.
pub(super) const CHANNEL: &str = r#""channel":"#;
/// What stands in a request to hang up that Asterisk was asked for.
pub(super) const SOFT: &str = r#""cause":32,"soft":true,"#;
/// The end of everything that is sent.
const TAIL: &str = r#","asterisk_id":"02:00:00:00:00:01","application":"capconduit-1"}"#;

/// Bytes already written that are kept in front of those to come, at most.
const WRITTEN_KEPT: usize = 1 << 20;

/// Opcodes of frames (RFC 6455, section 5.2).
pub(super) const TEXT: u8 = 1;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
const PONG: u8 = 10;

/// What the controller is told to a request.
#[derive(Debug)]
pub(super) struct Answer {
    /// HTTP status.
    pub(super) status: u16,
    /// The status in words.
    pub(super) reason: &'static str,
    /// JSON; empty where there is none.
    pub(super) body: String,
}

impl Answer {
    /// Nothing to say.
    pub(super) fn done() -> Self {
        Self { status: 204, reason: "No Content", body: String::new() }
    }

    /// This JSON.
    pub(super) fn json(body: String) -> Self {
        Self { status: 200, reason: "OK", body }
    }
}

/// A channel, as JSON in two parts with its state in between.
#[derive(Debug)]
pub(super) struct Channel {
    /// Its unique id.
    pub(super) id: String,
    head: String,
    /// Where it is in its life, in Asterisk's words.
    pub(super) state: &'static str,
    tail: String,
}

impl Channel {
    /// One that was made at this time.
    pub(super) fn new(
        id: String,
        state: &'static str,
        name: &str,
        number: &str,
        exten: &str,
        app_data: &str,
        created: &str,
    ) -> Self {
        let head = format!(r#"{{"id":"{id}","name":"{name}","state":""#);
        let tail = format!(
            r#"","protocol_id":"{id}@carrier.example","caller":{{"name":"","number":"{number}"}},"connected":{{"name":"","number":""}},"accountcode":"","dialplan":{{"context":"capconduit-inbound","exten":"{exten}","priority":4,"app_name":"Stasis","app_data":"{APP},{app_data}"}},"creationtime":"{created}","language":"en"}}"#
        );
        Self { id, head, state, tail }
    }

    /// Its JSON.
    pub(super) fn write(&self, text: &mut String) {
        text.push_str(&self.head);
        text.push_str(self.state);
        text.push_str(&self.tail);
    }
}

/// An outbound channel.
#[derive(Debug)]
pub(super) struct Leg {
    /// Its channel.
    pub(super) channel: Channel,
    /// Its arguments, as elements of a JSON array.
    pub(super) args: String,
    /// Who is dialled.
    pub(super) dialstring: String,
}

/// What the controller is told: frames that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Wire {
    /// Which connection the application has; without one, events are discarded, as Asterisk does.
    connection: Option<u64>,
    /// How often it has had one.
    pub(super) connections: u64,
    out: Vec<u8>,
    /// How much of that is written.
    written: usize,
    /// The frame that is being put together.
    text: String,
    /// Now, as Asterisk spells it.
    pub(super) time: String,
    /// Now, in milliseconds since 1970.
    pub(super) millis: i64,
}

impl Wire {
    /// The controller has connected; returns by which number that connection goes.
    pub(super) fn connect(&mut self) -> u64 {
        self.connections += 1;
        self.connection = Some(self.connections);
        self.out.clear();
        self.written = 0;
        self.connections
    }

    /// A connection is over.
    pub(super) fn disconnect(&mut self, connection: u64) {
        if self.has(connection) {
            self.connection = None;
        }
    }

    /// Whether this connection is the application's.
    pub(super) fn has(&self, connection: u64) -> bool {
        self.connection == Some(connection)
    }

    /// Whether anything waits to be written.
    pub(super) fn has_output(&self) -> bool {
        self.written < self.out.len()
    }

    /// Writes as much as the socket takes.
    pub(super) fn write(&mut self, stream: &TcpStream) -> io::Result<()> {
        while self.written < self.out.len() {
            match stream.try_write(&self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if self.written == self.out.len() || self.written > WRITTEN_KEPT {
            self.out.drain(..self.written);
            self.written = 0;
        }
        Ok(())
    }

    /// The answer to a ping.
    pub(super) fn pong(&mut self, payload: &[u8]) {
        frame(&mut self.out, PONG, payload);
    }

    /// From now on it is now.
    pub(super) fn look_at_the_clock(&mut self) {
        let now = chrono::Utc::now();
        if now.timestamp_millis() != self.millis {
            self.millis = now.timestamp_millis();
            self.time.clear();
            write!(self.time, "{}", now.format("%Y-%m-%dT%H:%M:%S%.3f%z")).expect("a string takes everything");
        }
    }

    /// An event; `more` are its own fields, the last of them without the channel that is its value.
    pub(super) fn event(&mut self, kind: &str, more: &[&str], channel: &Channel) {
        self.text.clear();
        self.text.push_str(r#"{"type":""#);
        self.text.push_str(kind);
        self.text.push_str(r#"","timestamp":""#);
        self.text.push_str(&self.time);
        self.text.push_str(r#"","#);
        more.iter().for_each(|part| self.text.push_str(part));
        channel.write(&mut self.text);
        self.text.push_str(TAIL);
        self.send();
    }

    /// Progress of a dial.
    pub(super) fn dial(&mut self, dialstatus: &str, leg: &Leg) {
        let more = [
            r#""dialstatus":""#,
            dialstatus,
            r#"","forward":"","dialstring":""#,
            leg.dialstring.as_str(),
            r#"","peer":"#,
        ];
        self.event("Dial", &more, &leg.channel);
    }

    /// The end of a channel that is watched beyond Stasis; `request` are the fields of what asked for it.
    pub(super) fn end(&mut self, channel: &Channel, request: &str) {
        self.event("ChannelHangupRequest", &[request, CHANNEL], channel);
        self.event("StasisEnd", &[CHANNEL], channel);
        self.event("ChannelHangupRequest", &[r#""cause":16,"soft":true,"#, CHANNEL], channel);
        self.event("ChannelDestroyed", &[r#""cause":16,"cause_txt":"Normal Clearing","#, CHANNEL], channel);
    }

    /// The answer to a request.
    pub(super) fn respond(&mut self, request_id: &str, path: &str, answer: &Answer) {
        let Answer { status, reason, body } = answer;
        self.text.clear();
        write!(
            self.text,
            r#"{{"type":"RESTResponse","transaction_id":"","request_id":"{request_id}","status_code":{status},"reason_phrase":"{reason}","uri":"{path}","#
        )
        .expect("a string takes everything");
        if !body.is_empty() {
            self.text.push_str(r#""content_type":"application/json","message_body":""#);
            // Nothing else in it needs to be escaped.
            for (place, part) in body.split('"').enumerate() {
                if place > 0 {
                    self.text.push_str(r#"\""#);
                }
                self.text.push_str(part);
            }
            self.text.push_str(r#"","#);
        }
        self.text.push_str(r#""timestamp":""#);
        self.text.push_str(&self.time);
        self.text.push('"');
        self.text.push_str(TAIL);
        self.send();
    }

    fn send(&mut self) {
        if self.connection.is_some() {
            frame(&mut self.out, TEXT, self.text.as_bytes());
        }
    }
}

/// A server's frame (RFC 6455, section 5.2).
fn frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(0x80 | opcode);
    match payload.len() {
        length @ 0..=125 => out.push(length as u8),
        length @ 126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}
