//! ARI over TLS: as quick as without, and what is wrong with a certificate is said.

use std::time::Duration;

use capconduit::clock::Clock;

use crate::harness::certificate::Authority;
use crate::harness::plan::Plan;
use crate::harness::raw::Invite;
use crate::harness::sipp::{FOREVER_MS, Scenario, Sipp, centre};
use crate::harness::site::{Backend, Preparation, Site};
use crate::harness::until;

const DID: &str = "+442079460001";

/// Calls by each of the two ways in a round.
const CALLS: usize = 25;
/// What TLS may add where the machine is busy; where it is not, it is 5 ms at most. A request that waits for a ping takes a hundred more.
const MORE_AT_MOST: Duration = Duration::from_millis(50);
/// A busy machine may spoil a round; a request that waits for a ping spoils all of them.
const ROUNDS: usize = 3;

/// A centre, and a plan that sends everything there.
async fn site(preparation: Preparation, scenario: Scenario) -> (Site, Sipp) {
    let alpha = preparation.centre("alpha", scenario).await;
    let plan = Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", DID, "").link("alpha", "");
    (preparation.start(&plan).await, alpha)
}

/// From the INVITE to its 180.
async fn until_ringing(site: &Site, node: usize, clock: Clock) -> Duration {
    let began = clock.now().mono;
    let mut call = site.send(node, &Invite::to(DID)).await;
    call.until_status(180).await;
    let took = clock.now().mono - began;
    call.cancel().await;
    assert_eq!(call.outcome().await, 487);
    took
}

#[tokio::test]
async fn a_call_rings_as_soon_by_tls_as_without() {
    let preparation = Preparation::new(Backend::Sqlite).nodes(2);
    let authority = Authority::new(preparation.folder("certificates"));
    let pem = authority.sign("server.pem", "DNS:localhost", 1);
    let preparation = preparation.secured(1, "localhost", &pem, &authority.certificate());
    let (site, _alpha) = site(preparation, centre::answer().set("ring_ms", FOREVER_MS)).await;
    let clock = Clock::start();
    let mut medians = Vec::new();
    for _ in 0..ROUNDS {
        let mut took = [Vec::new(), Vec::new()];
        for _ in 0..CALLS {
            for (node, took) in took.iter_mut().enumerate() {
                took.push(until_ringing(&site, node, clock).await);
            }
        }
        let [plain, tls] = took.map(|mut took| {
            took.sort_unstable();
            took[CALLS / 2]
        });
        println!("INVITE to 180, median of {CALLS}: {plain:?} over http, {tls:?} over https");
        medians.push((plain, tls));
        if tls <= plain + MORE_AT_MOST {
            break;
        }
    }
    let good = medians.iter().any(|(plain, tls)| *tls <= *plain + MORE_AT_MOST);
    assert!(good, "TLS takes longer: {medians:?}");
    site.finish().await;
}

/// What the log holds about a node that cannot be connected to.
fn complaints(site: &Site, node: &str) -> Vec<String> {
    let log = site.controller.log();
    log.lines().filter(|line| line.contains("WARN") && line.contains(node)).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_certificate_that_cannot_be_accepted_is_called_what_it_is() {
    let preparation = Preparation::new(Backend::Sqlite);
    let authority = Authority::new(preparation.folder("certificates"));
    let other = Authority::new(preparation.folder("other"));
    let pem = authority.sign("server.pem", "DNS:localhost", 1);
    let preparation = preparation.secured(0, "localhost", &pem, &authority.certificate());
    let (mut site, _alpha) = site(preparation, centre::answer().set("ring_ms", FOREVER_MS)).await;
    let url = site.controller.nodes()[0].clone();
    let (sound, report) = site.controller.doctor().await;
    assert!(sound, "{report}");

    // A machine without any certificates: what names a file of its own, or needs none, works.
    let without = |keys: &[(&'static str, String)]| {
        let nowhere = |name| (name, "/nonexistent".to_owned());
        [&[nowhere("SSL_CERT_FILE"), nowhere("SSL_CERT_DIR")], keys].concat()
    };
    let key = |name: &'static str, value: &str| (name, value.to_owned());
    const URL: &str = "CAPCONDUIT__ASTERISK__0__URL";
    const CA: &str = "CAPCONDUIT__ASTERISK__0__CA_FILE";
    assert!(site.controller.doctor_with(&without(&[])).await.0, "ca_file says whom to trust");

    let expired = authority.sign("expired.pem", "DNS:localhost", -1);
    let named = authority.sign("named.pem", "DNS:pbx.example.com", 1);
    let others = other.certificate().display().to_string();
    for (keys, told, mend) in [
        (vec![key(CA, &others)], "its certificate is not trusted", "ca_file"),
        (
            vec![key(URL, &url.replace("localhost", "127.0.0.1"))],
            "is for another name: for DnsName(\"localhost\")",
            "subjectAltName",
        ),
        (vec![key(URL, &site.nodes[0].url.replace("http:", "https:"))], "does not speak TLS", "tlsbindaddr"),
        (vec![key(CA, "/nonexistent")], "cannot be read", "correct that key"),
    ] {
        let (sound, report) = site.controller.doctor_with(&keys).await;
        assert!(!sound && report.contains(told) && report.contains(mend), "{told}, {mend}: {report}");
    }

    // Asterisk gets a certificate that is over, then one for somebody else.
    for (file, told) in [(&expired, "its certificate has expired"), (&named, "for another name")] {
        std::fs::copy(file, &pem).expect("the test's own file");
        site.nodes[0].process().kill();
        site.nodes[0].start_again();
        site.nodes[0].ready().await;
        until(&format!("the log says {told}"), || complaints(&site, "pbx-1").iter().any(|line| line.contains(told)))
            .await;
        let (sound, report) = site.controller.doctor().await;
        assert!(!sound && report.contains(told), "{report}");
        let tried = site.controller.gauge("capconduit_ari_reconnects_total").await;
        while site.controller.gauge("capconduit_ari_reconnects_total").await < tried + 2.0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let lines = complaints(&site, "pbx-1");
        let about = lines.iter().filter(|line| line.contains(told)).count();
        assert_eq!(about, 1, "{lines:?}");
    }
}
