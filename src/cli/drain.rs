//! `capconduit drain`: empties nodes, whether a controller runs or not. The order stands in the node (see
//! [`crate::calls::dispatcher::DRAINED`]); the controller and the dialplan obey it there.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::time::sleep;

use super::print;
use crate::ari::{Node, NodeHandle, Request};
use crate::calls::dispatcher::DRAINED;
use crate::calls::reconcile::is_caller_of;
use crate::clock::Clock;
use crate::config::Config;

/// How often the calls that are left are counted.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is drained, and how.
#[derive(Debug, Args)]
pub(super) struct DrainCommand {
    /// The node's name in the configuration [default: every node].
    node: Option<String>,
    /// Let the node take calls again.
    #[arg(long)]
    end: bool,
    /// Do not wait until the node has no call left.
    #[arg(long, conflicts_with = "end")]
    no_wait: bool,
}

pub(super) async fn run(config: &Config, command: DrainCommand) -> anyhow::Result<ExitCode> {
    config.require_ari()?;
    let names: Vec<&str> = config.nodes.iter().map(|node| node.name.as_str()).collect();
    let clock = Clock::start();
    let mut told = Vec::new();
    for index in chosen(&names, command.node.as_deref())? {
        let node = &config.nodes[index];
        let handle = Node::over_http(index, &node.ari(config.calls.request_timeout), clock.ari())?;
        order(&handle, !command.end).await.with_context(|| format!("node {}", node.name))?;
        if command.end {
            print(&format!("{}: takes calls again\n", node.name))?;
        } else {
            told.push((handle, node));
        }
    }
    let mut before = vec![None; told.len()];
    loop {
        let mut left = 0;
        for ((handle, node), before) in told.iter().zip(&mut before) {
            let calls = count(handle, &node.app).await.with_context(|| format!("node {}", node.name))?;
            if before.replace(calls) != Some(calls) {
                print(&format!("{}: {}\n", node.name, standing(calls)))?;
            }
            left += calls;
        }
        if left == 0 || command.no_wait {
            return Ok(ExitCode::SUCCESS);
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Which nodes are meant, by their index.
fn chosen(names: &[&str], name: Option<&str>) -> anyhow::Result<Vec<usize>> {
    let chosen: Vec<_> = (0..names.len()).filter(|index| name.is_none_or(|name| names[*index] == name)).collect();
    anyhow::ensure!(!chosen.is_empty(), "no node is named {:?}; there are: {}", name.unwrap_or(""), names.join(", "));
    Ok(chosen)
}

/// Leaves the mark in the node, or takes it away.
async fn order(node: &NodeHandle, drained: bool) -> anyhow::Result<()> {
    let since = if drained { node.global("EPOCH").await? } else { "0".to_owned() };
    node.http(Request::SetGlobal { variable: DRAINED, value: &since }).await?;
    Ok(())
}

/// Callers of ours that are up, or wait to be answered.
async fn count(node: &NodeHandle, app: &str) -> anyhow::Result<usize> {
    let channels = node.list_channels(Vec::new).await?;
    let ours = channels.told.iter().filter(|channel| is_caller_of(app, channel)).count();
    Ok(ours + channels.untold.len())
}

fn standing(calls: usize) -> String {
    match calls {
        0 => "drained, no call is left".to_owned(),
        1 => "drained, 1 call is left".to_owned(),
        calls => format!("drained, {calls} calls are left"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_node_or_all_are_chosen_and_a_wrong_name_is_told() {
        let chosen = |name| chosen(&["a", "b"], name);
        assert_eq!(chosen(None).expect("all"), [0, 1]);
        assert_eq!(chosen(Some("b")).expect("one"), [1]);
        assert_eq!(chosen(Some("c")).unwrap_err().to_string(), "no node is named \"c\"; there are: a, b");
    }
}
