//! A node that does not keep up with requests: its dialplan is told to refuse part of the new calls, until it does again.

use capconduit::config::{Config, Transport};

use crate::fake_ari::{Behaviour, Fault};
use crate::on_both_databases;
use crate::patience::PATIENCE;
use crate::site::{DID, Database, Site, plan};

on_both_databases!(part_of_the_calls_is_refused_while_requests_wait,);

const SHED: &str = "CAPCONDUIT_SHED";
/// More than few: as many requests at least wait at once.
const MANY: usize = 60;

/// No request, and no call that waits for one, is given up before the test lets it through, however slow the machine is.
fn patient(config: &mut Config) {
    config.calls.request_timeout = PATIENCE;
    config.calls.progress_timeout = PATIENCE;
    config.calls.setup_budget = 10 * PATIENCE;
}

async fn part_of_the_calls_is_refused_while_requests_wait(database: Database) {
    let mut site = Site::start_with(database, &plan("priority", &[("north", "")]), Transport::Websocket, patient).await;
    site.clients(&[("north", Behaviour::answers(0))]);
    site.asterisk.until_global(SHED, |percent| percent == "0").await;
    site.stop().await;
    // One that was killed while it had calls refused leaves that behind.
    site.asterisk.set_global(SHED, "70");
    site.run().await;
    site.asterisk.until_global(SHED, |percent| percent == "0").await;

    site.asterisk.fault("POST channels/create", 1_000, Fault::Held);
    let calls: Vec<_> = (0..MANY).map(|_| site.call(DID)).collect();
    site.asterisk
        .until_global(SHED, |percent| percent.parse::<u8>().is_ok_and(|percent| (1..=95).contains(&percent)))
        .await;
    site.asterisk.mend();
    for call in &calls {
        call.answered().await;
    }
    site.asterisk.until_global(SHED, |percent| percent == "0").await;
    site.until_metric("capconduit_shed_percent{node=\"pbx\"} 0").await;
    calls.iter().for_each(|call| call.hang_up());
    site.records(MANY).await;
    site.settle().await;
}
