//! Whether this machine finds its own name at once. Asterisk looks that name up with each call (`ast_find_ourip`), and without it one of
//! the DNS's root servers: where neither is found, the call waits for as long as that takes.

use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;

use super::report::Check;
use crate::clock::Clock;

/// Longer than this is felt by a caller.
const SOON: Duration = Duration::from_millis(200);
/// So long it is waited for here.
const PATIENCE: Duration = Duration::from_secs(3);

/// Looks it up, for a node on this machine.
pub(super) async fn check(node: &str, clock: Clock) -> Check {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let begun = clock.now().mono;
    let looked_up = timeout(PATIENCE, lookup_host((name.as_str(), 0))).await;
    let found = looked_up.is_ok_and(|answer| answer.is_ok_and(|mut addresses| addresses.next().is_some()));
    judge(&format!("{node}: machine's own name"), &name, found, clock.now().mono.saturating_sub(begun))
}

/// PURE: what it means that the name was found, or not, after so long.
fn judge(subject: &str, name: &str, found: bool, took: Duration) -> Check {
    let mend = format!("add the line `127.0.1.1 {name}` to /etc/hosts");
    match (found, took > SOON) {
        (true, false) => Check::ok(subject, format!("{name} is found at once")),
        (true, true) => {
            let found =
                format!("{name} is found only after {} ms, and Asterisk looks it up with each call", took.as_millis());
            Check::warning(subject, found, mend)
        }
        (false, false) => {
            let found = format!(
                "{name} is not found: Asterisk looks it up with each call, and asks the DNS's root servers then"
            );
            Check::warning(subject, found, mend)
        }
        (false, true) => {
            let found = format!(
                "{name} is not found within {} ms: Asterisk looks it up with each call, which waits for as long",
                took.as_millis()
            );
            Check::failed(subject, found, mend)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Outcome;

    #[test]
    fn only_what_holds_calls_up_is_a_failure() {
        let outcome = |found, ms| judge("pbx", "vm", found, Duration::from_millis(ms)).outcome;
        assert_eq!(outcome(true, 3), Outcome::Ok);
        assert_eq!(outcome(true, 900), Outcome::Warning);
        assert_eq!(outcome(false, 3), Outcome::Warning);
        assert_eq!(outcome(false, 900), Outcome::Failed);
        let mend = judge("pbx", "vm", false, PATIENCE).mend.expect("it can be mended");
        assert!(mend.contains("127.0.1.1 vm") && mend.contains("/etc/hosts"), "{mend}");
    }
}
