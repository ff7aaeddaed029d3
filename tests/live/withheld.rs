//! A caller who withholds the number stays unknown to the call centre and in the record.

use crate::harness::plan::Plan;
use crate::harness::sipp::{carrier, centre};
use crate::harness::site::{Backend, Preparation};

crate::on_both!(withheld_callers_stay_withheld);

const DID: &str = "+442079460001";
/// What must not be seen by anyone but the carrier.
const SECRET: &str = "2071838751";

async fn withheld_callers_stay_withheld(backend: Backend) {
    let site = Preparation::new(backend);
    let alpha = site.centre("alpha", centre::answer()).await;
    let plan = Plan::new().client("alpha", &alpha, ("send_headers = true", "")).campaign("Solar", DID, "");
    let site = site.start(&plan.link("alpha", "")).await;

    let named = format!("\"Ada Byron\" <sip:+44{SECRET}@127.0.0.2>");
    let asserted = format!("P-Asserted-Identity: \"Ada Byron\" <sip:+44{SECRET}@127.0.0.2>\nPrivacy: id\n");
    let anonymous = "\"Anonymous\" <sip:anonymous@anonymous.invalid>";
    for (name, from, headers) in [
        ("privacy", named.as_str(), asserted.as_str()),
        ("anonymous", anonymous, asserted.as_str()),
        ("nameless", anonymous, ""),
    ] {
        let call = site.call(name, &carrier::call().set("did", DID).set("from", from).set("headers", headers)).await;
        assert_eq!(call.outcome(), Some(200), "{name}");
        let record = site.record(&call).await;
        assert_eq!(record.text("caller_presentation"), "withheld", "{name}: {record:?}");
        assert_eq!((record.text("caller_number"), record.text("caller_name")), ("", ""), "{name}");
        assert!(!record.0.to_string().contains(SECRET), "{name}: no field of the record shows the number: {record:?}");
    }

    for leg in alpha.trace.dialogs() {
        let invite = leg.invite();
        assert!(!invite.text.contains(SECRET) && !invite.text.contains("Ada"), "shown to the centre: {}", invite.text);
    }
    assert_eq!(alpha.trace.answered(), 3);
    site.finish().await;
}
