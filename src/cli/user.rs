//! `capconduit user`: who may sign in, for whoever may run the program.

use std::io::BufRead as _;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use secrecy::{ExposeSecret, SecretString};

use crate::auth::principal::Actor;
use crate::auth::roles::Role;
use crate::auth::{hasher, password, secrets};
use crate::clock::Clock;
use crate::plan::{UserStatus, is_username};
use crate::store::Db;
use crate::store::users::{self, Account, Changes, NewUser, UserError};
use crate::text::name_problem;

const ACTOR: Actor<'static> = Actor::System("cli");

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Make a user, and print its password, which must be changed at the first log-in.
    Add {
        /// 1 to 64 of a-z 0-9 . _ -
        username: String,
        /// What it is: admin, staff or seller.
        #[arg(long)]
        role: Role,
        /// For people [default: the username].
        #[arg(long)]
        name: Option<String>,
        /// Read the password from standard input (one line) instead of making one.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Give a user another password, which must be changed at the next log-in, and end its sessions.
    Password {
        /// Whose.
        username: String,
        /// Read the password from standard input (one line) instead of making one.
        #[arg(long)]
        password_stdin: bool,
        /// End its API tokens as well.
        #[arg(long)]
        revoke_tokens: bool,
    },
    /// Keep a user from signing in; its sessions end at once.
    #[command(group = clap::ArgGroup::new("routing").args(["stop_routing", "keep_routing"]))]
    Disable {
        /// Whom.
        username: String,
        /// Of a seller: pause its active campaigns, so that no new call is routed for it.
        #[arg(long)]
        stop_routing: bool,
        /// Of a seller: let its routing go on.
        #[arg(long)]
        keep_routing: bool,
    },
}

/// Carries it out; what is printed.
pub(super) async fn run(db: &Db, command: UserCommand) -> anyhow::Result<String> {
    match command {
        UserCommand::Add { username, role, name, password_stdin } => {
            if !is_username(&username) {
                bail!("USERNAME = {username:?} is not allowed: use 1 to 64 of a-z 0-9 . _ -");
            }
            if let Some((name, allowed)) = name.as_ref().and_then(|name| Some((name, name_problem(name)?))) {
                bail!("--name = {name:?} is not allowed: {allowed}");
            }
            let chosen = choose(password_stdin, &username)?;
            add(db, username, role, name, chosen).await
        }
        UserCommand::Password { username, password_stdin, revoke_tokens } => {
            let account = find(db, &username).await?;
            let chosen = choose(password_stdin, &username)?;
            let password_hash = Some(hasher::hash(&chosen.password)?);
            let changes = Changes { password_hash, revoke_tokens, ..Changes::default() };
            update(db, &account, changes).await?;
            Ok(format!("user {username} has a new password{}\n", chosen.told()))
        }
        UserCommand::Disable { username, stop_routing, keep_routing } => {
            let account = find(db, &username).await?;
            if (account.role == Role::Seller) != (stop_routing || keep_routing) {
                bail!(
                    "{username} is of role {}: --stop-routing or --keep-routing is for a seller, and needed",
                    account.role
                );
            }
            let status = Some(UserStatus::Disabled);
            let stop_routing = (account.role == Role::Seller).then_some(stop_routing);
            update(db, &account, Changes { status, stop_routing, ..Changes::default() }).await?;
            Ok(format!("user {username} is disabled\n"))
        }
    }
}

async fn add(db: &Db, username: String, role: Role, name: Option<String>, chosen: Chosen) -> anyhow::Result<String> {
    let new = NewUser {
        name: name.unwrap_or_else(|| username.clone()),
        username: username.clone(),
        role,
        password_hash: Some(hasher::hash(&chosen.password)?),
        must_change_password: true,
    };
    match users::create(db, ACTOR, new, Clock::start().now().wall).await {
        Ok(_) => Ok(format!("user {username} is made{}\n", chosen.told())),
        Err(UserError::Taken) => {
            bail!("USERNAME = {username:?} is taken: `capconduit user password` gives that user another password")
        }
        Err(error) => Err(error).with_context(|| format!("user {username} is not made")),
    }
}

async fn find(db: &Db, username: &str) -> anyhow::Result<Account> {
    let found = users::credentials(db, username).await?.map(|(account, _)| account);
    found.with_context(|| format!("USERNAME = {username:?}: there is no such user"))
}

async fn update(db: &Db, account: &Account, changes: Changes) -> anyhow::Result<()> {
    let updated = users::update(db, ACTOR, account.id, changes, Clock::start().now().wall).await;
    updated.map(drop).with_context(|| format!("user {} is not changed", account.username))
}

struct Chosen {
    password: SecretString,
    made_here: bool,
}

impl Chosen {
    fn told(&self) -> String {
        if self.made_here {
            format!("; its password, shown this once: {}", self.password.expose_secret())
        } else {
            String::new()
        }
    }
}

fn choose(from_stdin: bool, username: &str) -> anyhow::Result<Chosen> {
    if !from_stdin {
        return Ok(Chosen { password: secrets::password(), made_here: true });
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("standard input cannot be read as UTF-8 text")?;
    let password = line.trim_end_matches(['\r', '\n']);
    if let Err(allowed) = password::check(password, username) {
        bail!("the password is not allowed (not shown: secret): {allowed}");
    }
    Ok(Chosen { password: password.into(), made_here: false })
}
