//! What the ends offer and answer (RFC 4566).

use std::net::SocketAddr;

/// The first lines, and one audio stream in G.711 µ-law, `direction` as in `sendrecv`. A later one of a dialog has a higher `version`.
pub(crate) fn directed(media: SocketAddr, direction: &str, version: u32) -> String {
    let (ip, port) = (media.ip(), media.port());
    format!(
        "v=0\r\no=ua 1 {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na={direction}\r\n"
    )
}

/// Audio both ways.
pub(crate) fn audio(media: SocketAddr) -> String {
    directed(media, "sendrecv", 1)
}

/// Audio, and video on the port after the next.
pub(crate) fn with_video(media: SocketAddr) -> String {
    format!("{}m=video {} RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n", audio(media), media.port() + 2)
}

/// Audio, and T.38 on the port after the next.
pub(crate) fn with_t38(media: SocketAddr) -> String {
    format!("{}m=image {} udptl t38\r\na=T38FaxVersion:0\r\n", audio(media), media.port() + 2)
}

/// What answers another direction of the audio within a dialog (RFC 3264, section 8.4: who is put on hold only receives).
pub(crate) fn answering(audio: &str, offer: &str) -> String {
    let offered = |direction: &str| offer.lines().any(|line| line.trim_end() == format!("a={direction}"));
    let mine = if offered("sendonly") {
        "recvonly"
    } else if offered("inactive") {
        "inactive"
    } else {
        "sendrecv"
    };
    declining(&audio.replace("a=sendrecv", &format!("a={mine}")), offer)
}

/// An answer with audio that declines whatever else is offered (RFC 3264, section 6: as many streams as were offered, in their order).
pub(crate) fn declining(audio: &str, offer: &str) -> String {
    let others = offer.lines().filter_map(|line| line.strip_prefix("m=")).filter(|line| !line.starts_with("audio "));
    let declined = others.map(|line| {
        let mut words: Vec<&str> = line.trim_end().split(' ').collect();
        words[1] = "0";
        format!("m={}\r\n", words.join(" "))
    });
    format!("{audio}{}", declined.collect::<String>())
}

/// An answer that Asterisk cannot use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// A codec that was never offered.
    Codec,
    /// Audio is declined: port 0.
    Port,
    /// A profile that was never offered: SRTP.
    Profile,
    /// No stream at all.
    Streams,
    /// No session description.
    Garbage,
}

/// Such an answer.
pub(crate) fn unusable(media: SocketAddr, why: Unusable) -> String {
    let (ip, port) = (media.ip(), media.port());
    let head = format!("v=0\r\no=ua 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n");
    match why {
        Unusable::Codec => format!("{head}m=audio {port} RTP/AVP 118\r\na=rtpmap:118 speex/32000\r\n"),
        Unusable::Port => format!("{head}m=audio 0 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"),
        Unusable::Profile => format!("{head}m=audio {port} RTP/SAVP 0\r\na=rtpmap:0 PCMU/8000\r\n"),
        Unusable::Streams => head,
        Unusable::Garbage => "this is no session description\r\n".to_owned(),
    }
}
