//! One Asterisk node as the dispatcher sees it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::ari::{Channel, NodeHandle};
use crate::calls::intake::Intake;
use crate::routing::caps::PermitKey;

/// A caller that arrived before its node was ready.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) app: u16,
    pub(super) channel: Channel,
    pub(super) args: Vec<String>,
    /// Monotonic time of arrival.
    pub(super) since: Duration,
}

#[derive(Debug)]
pub(super) struct NodeState {
    pub(super) handle: NodeHandle,
    pub(super) intake: Intake,
    /// Names of its Stasis applications.
    pub(super) apps: Vec<String>,
    pub(super) up: Vec<bool>,
    /// Grows with every Up and Down: lists asked for in an earlier generation say nothing about this one.
    pub(super) generation: u64,
    /// Compared in this generation.
    pub(super) compared: bool,
    /// Its calls are decided here.
    pub(super) ready: bool,
    /// The generation whose lists are on their way.
    pub(super) comparing: Option<u64>,
    /// Channels that ended while lists were on their way: the lists may still name them.
    pub(super) ended: HashSet<String>,
    /// Permits found without a channel, and when first.
    pub(super) missing: HashMap<PermitKey, Duration>,
    /// Outbound channels without a call that were asked to go; each holds its permit until it is gone.
    pub(super) orphans: HashMap<String, PermitKey>,
    pub(super) waiting: Vec<Waiting>,
}

impl NodeState {
    pub(super) fn new(handle: NodeHandle, intake: Intake) -> Self {
        let apps: Vec<String> = (0..handle.apps()).map(|app| handle.app_name(app).to_owned()).collect();
        let up = vec![false; apps.len()];
        Self {
            handle,
            intake,
            apps,
            up,
            generation: 0,
            compared: false,
            ready: false,
            comparing: None,
            ended: HashSet::new(),
            missing: HashMap::new(),
            orphans: HashMap::new(),
            waiting: Vec::new(),
        }
    }

    /// Notes that an application's socket came up or went down: nothing that was known of the node holds any more.
    pub(super) fn turn(&mut self, app: u16, up: bool) {
        self.up[usize::from(app)] = up;
        self.generation += 1;
        self.compared = false;
        self.ready = false;
    }

    /// Whether every application's socket is connected.
    pub(super) fn is_up(&self) -> bool {
        self.up.iter().all(|up| *up)
    }

    /// Index of the application a listed channel is in.
    pub(super) fn app_of(&self, channel: &Channel) -> u16 {
        let name = channel.app_data.split(',').next().unwrap_or_default();
        self.apps.iter().position(|app| app == name).and_then(|at| u16::try_from(at).ok()).unwrap_or(0)
    }
}
