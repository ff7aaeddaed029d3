//! An hour of calls: whether anything fails, and whether anything grows.

use std::time::Duration;

use tokio::time::sleep;

use crate::calls::contest::Contest;
use crate::calls::report::Section;
use crate::calls::site::ANSWERED;
use crate::calls::stats::percentile;

const PER_SECOND: usize = 20;
/// Blocks in which the whole is told.
const BLOCKS: usize = 12;

/// Memory and descriptors of a process (proc(5), `status` and `fd`).
#[derive(Debug, Clone, Copy)]
struct Size {
    megabytes: f64,
    descriptors: usize,
}

fn size(process: u32) -> Size {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let kilobytes =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().split(' ').next()?.parse::<f64>().ok());
    let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).map_or(0, Iterator::count);
    Size { megabytes: kilobytes.unwrap_or(f64::NAN) / 1024.0, descriptors }
}

/// So many minutes of them.
pub(crate) async fn soak(contest: &mut Contest, minutes: usize) -> Section {
    let how = format!(
        "{PER_SECOND} calls/s for {minutes} minutes, 1 s of talk each; memory and descriptors of the controller at the end of each part."
    );
    let head = ["part", "calls", "not answered", "p50 set-up, ms", "p99", "memory, MB", "descriptors"];
    let mut section = Section::new("Soak", &how, &head);
    let who = contest.contestants.iter().find(|who| who.is_ours()).expect("a controller").clone();
    let process = contest.sites[who.site].controller.process().id();
    let (mut sizes, mut failed, mut all) = (Vec::new(), 0, 0);
    let calls = minutes * 60 * PER_SECOND / BLOCKS;
    for part in 1..=BLOCKS {
        let block = contest.block(&who, ANSWERED, (calls, PER_SECOND as f64), Duration::from_secs(1)).await;
        contest.centres.alpha.take();
        sleep(Duration::from_secs(1)).await;
        let (mut set_ups, now) = (block.set_ups(), size(process));
        failed += block.failures();
        all += block.calls.len();
        section.line([
            part.to_string(),
            block.calls.len().to_string(),
            block.failures().to_string(),
            format!("{:.2}", percentile(&mut set_ups, 0.5)),
            format!("{:.2}", percentile(&mut set_ups, 0.99)),
            format!("{:.1}", now.megabytes),
            now.descriptors.to_string(),
        ]);
        sizes.push(now);
    }
    section.verdict("0 failures", format!("{failed} of {all}"), failed == 0);
    let (warm, end) = (sizes[BLOCKS / 4], sizes[BLOCKS - 1]);
    let grown = end.megabytes - warm.megabytes;
    let told = format!(
        "memory {:.1} to {:.1} MB, descriptors {} to {}",
        warm.megabytes, end.megabytes, warm.descriptors, end.descriptors
    );
    section.verdict(
        "memory (5 MB) and descriptors (5) flat after a quarter",
        told,
        grown <= 5.0 && end.descriptors <= warm.descriptors + 5,
    );
    section
}
