//! Whoever asks for privacy, in whatever header and however often, is shown to no call centre and in no record.

use crate::harness::plan::Plan;
use crate::harness::raw::Invite;
use crate::harness::sipp::centre;
use crate::harness::site::{Backend, Preparation};

crate::on_both!(whoever_asks_for_privacy_anywhere_is_withheld);

const DID: &str = "+442079460001";
const SECRET: &str = "2071838751";
const NAME: &str = "Ada Byron";

/// Each with whether the caller is withheld. `PAI` and `RPI` stand for such a header with name and number.
const CASES: &[(&str, &str, bool)] = &[
    ("named", "", false),
    ("named", "Privacy: id\r\n", true),
    ("named", "Privacy: none\r\n", false),
    ("named", "Privacy: none\r\nPrivacy: id\r\n", true),
    ("named", "Privacy: id\r\nPrivacy: none\r\n", true),
    ("named", "PAIPrivacy: none\r\nPrivacy: id\r\n", true),
    ("named", "PAIPrivacy: id\r\nPrivacy: none\r\n", true),
    ("named", "Privacy: id\r\nPAI", true),
    ("named", "Privacy: none\r\nPAI", false),
    ("named", "PAIprivacy: critical; USER\r\n", true),
    ("named", "Privacy: session;critical;id\r\n", true),
    ("named", "Privacy: header\r\n", true),
    ("named", "Privacy: session\r\n", false),
    ("named", "Privacy: idle;users\r\n", false),
    ("named", "Privacy:\r\nPRIVACY:\r\nprivacy: user\r\n", true),
    ("named", "Privacy:\r\n none;\r\n\tid\r\n", true),
    ("named", "Privacy: none\r\nPrivacy: none\r\nPrivacy: none\r\nPrivacy: none\r\nPrivacy: id\r\n", true),
    ("named", "Privacy: \"x\";id\r\n", true),
    ("named", "Privacy: )(\"';id\r\n", true),
    ("named", "RPI;party=calling;privacy=full;screen=yes\r\n", true),
    ("named", "RPI;privacy=off\r\n", false),
    ("named", "RPI;privacy=off\r\nRPI;privacy=\"full\"\r\n", true),
    ("named", "PAIRPI;privacy=full\r\n", true),
    ("named", "PAIPAIPrivacy: id\r\n", true),
    ("named", "P-Asserted-Identity: \"NAME\" <tel:+44SECRET>, <sip:+44SECRET@x>\r\nPrivacy: id\r\n", true),
    ("named", "P-Asserted-Identity: <tel:+44SECRET>\r\nPAIPrivacy: id\r\n", true),
    ("named", "P-Asserted-Identity: garbage +44SECRET\r\nPrivacy: id\r\n", true),
    ("anonymous", "", true),
    ("anonymous", "PAI", true),
    ("anonymous", "PAIPrivacy: none\r\n", true),
    ("anonymous", "P-Asserted-Identity: <tel:+44SECRET>\r\nPAI", true),
    ("anonymous", "RPI;privacy=off\r\n", true),
    ("at anonymous.invalid", "PAI", true),
    ("called anonymous", "", true),
    ("called anonymous", "PAI", true),
    ("compact", "", false),
];

fn invite(from: &str, headers: &str) -> Invite {
    let filled = |text: &str| text.replace("NAME", NAME).replace("SECRET", SECRET);
    let headers = headers.replace("PAI", "P-Asserted-Identity: \"NAME\" <sip:+44SECRET@127.0.0.2>\r\n");
    let headers = headers.replace("RPI", "Remote-Party-ID: \"NAME\" <sip:+44SECRET@127.0.0.2>");
    let from = match from {
        "anonymous" => "\"Anonymous\" <sip:Anonymous@anonymous.invalid>",
        "at anonymous.invalid" => "<sip:c8oqz84zk7z@anonymous.invalid>",
        "called anonymous" => "Anonymous <sip:+44SECRET@127.0.0.2>",
        _ => "\"NAME\" <sip:+44SECRET@127.0.0.2>",
    };
    Invite { from: filled(from).into(), headers: filled(&headers).into(), ..Invite::to(DID) }
}

async fn whoever_asks_for_privacy_anywhere_is_withheld(backend: Backend) {
    let site = Preparation::new(backend);
    let alpha = site.centre("alpha", centre::answer()).await;
    let plan = Plan::new().client("alpha", &alpha, ("send_headers = true", "")).campaign("Solar", DID, "");
    let site = site.start(&plan.link("alpha", "")).await;

    for (n, (from, headers, withheld)) in CASES.iter().enumerate() {
        let invite = invite(from, headers);
        let what = format!("{from}: {headers:?}");
        let mut call = site.send(0, &invite).await;
        assert_eq!(call.outcome().await, 200, "{what}");
        call.hang_up().await;
        let shown = alpha.trace.dialogs()[n].invite().clone();
        // The first call's trace may still be being written, but not its INVITE, which was answered.
        let (number, name) = (shown.text.contains(SECRET), shown.text.contains(NAME));
        let from = shown.header("From").unwrap_or_default();
        assert_eq!(number, !withheld, "{what}: number in {}", shown.text);
        assert!(!withheld || (!name && from.contains("anonymous@anonymous.invalid")), "{what}: {}", shown.text);
        assert!(!withheld || shown.header("P-Asserted-Identity").is_none(), "{what}: {}", shown.text);
        let record = site.records_of(&invite, 1).await.remove(0);
        let presentation = if *withheld { "withheld" } else { "allowed" };
        assert_eq!(record.text("caller_presentation"), presentation, "{what}: {record:?}");
        assert_eq!(record.0.to_string().contains(SECRET), !withheld, "{what}: {record:?}");
        assert!(!withheld || !record.0.to_string().contains(NAME), "{what}: {record:?}");
    }
    site.finish().await;
}
