//! PURE: from the form to checked objects, naming every problem at once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::Problems;
use super::document::{CampaignForm, ClientForm, DidForm, Document, LinkForm, RejectionsForm};
use super::state::{Access, Campaign, CampaignKey, Client, Did, Link, Seller, State, UserStatus};
use crate::config::REJECTION_CODES;
use crate::realtime::{Given, Secrets, reserved};
use crate::routing::number::written::{self, Number};
use crate::routing::snapshot::{CampaignRejections, ClientIdentifier, CountOn, Status};
use crate::text::name_form_problem;

/// Which numbers a field takes, and how a person is told.
struct Range {
    allowed: RangeInclusive<i64>,
    words: &'static str,
}

const CAP: Range =
    Range { allowed: 0..=u32::MAX as i64, words: "0 (none) to 4294967295, or leave it out for no limit" };
const TOTAL: Range = Range { allowed: 0..=i64::MAX, words: "0 (none) or more, or leave it out for no limit" };
const RING: Range = Range { allowed: 1..=600, words: "1 to 600 seconds" };
const LINK_RING: Range = Range { words: "1 to 600 seconds, or leave it out for the campaign's", ..RING };
const BUDGET: Range =
    Range { allowed: 1..=3600, words: "1 to 3600 seconds, or leave it out for the configured default" };
const DURATION: Range =
    Range { allowed: 1..=86_400, words: "1 to 86400 seconds, or leave it out for the configured default" };
const PRIORITY: Range =
    Range { allowed: i32::MIN as i64..=i32::MAX as i64, words: "-2147483648 to 2147483647, lower is tried first" };
const WEIGHT: Range = Range { allowed: 1..=10_000, words: "1 to 10000" };

/// Whether a user may be called so: 1 to 64 of `a-z 0-9 . _ -`.
#[must_use]
pub fn is_username(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

impl Document {
    /// Checks every value and every reference between objects.
    ///
    /// # Errors
    /// All problems at once, each with the field's path, the value and what is allowed.
    pub fn check(&self) -> Result<State, Problems> {
        let mut checker = Checker::default();
        let state = State {
            sellers: checker.sellers(self),
            clients: checker.clients(self),
            dids: checker.dids(self),
            campaigns: checker.campaigns(self),
        };
        checker.one_active_campaign_per_did(&state);
        if checker.problems.is_empty() { Ok(state) } else { Err(Problems(checker.problems)) }
    }

    /// What a sound document says in a way that should be mended, one line each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let unmarked = self.dids.iter().filter(|form| form.raw.is_none());
        let raw = unmarked.filter(|form| written::read(&form.number).is_ok_and(|number| number.is_raw()));
        raw.map(|form| {
            format!(
                "dids[{:?}]: is no E.164 number and is found by its text alone: write raw = true, or the number with + and country code",
                form.number
            )
        })
        .collect()
    }
}

#[derive(Default)]
struct Checker {
    problems: Vec<String>,
    /// Names of what the document holds, sound or not, so that one fault is not reported again by all who refer to it.
    sellers: BTreeSet<String>,
    clients: BTreeSet<String>,
    owners: BTreeMap<String, String>,
    /// Kinds and ids of the old platform.
    legacy_ids: BTreeSet<(&'static str, String)>,
}

impl Checker {
    fn report(&mut self, path: &str, problem: impl std::fmt::Display) {
        self.problems.push(format!("{path}: {problem}"));
    }

    fn word<T: FromStr<Err = String>>(&mut self, path: &str, field: &str, given: Option<&str>, default: T) -> T {
        match given.map(str::parse) {
            None => default,
            Some(Ok(word)) => word,
            Some(Err(error)) => {
                self.report(&format!("{path}.{field}"), error);
                default
            }
        }
    }

    /// `active` or `paused`: archiving is what leaving out means.
    fn status(&mut self, path: &str, given: Option<&str>) -> Status {
        match given {
            None | Some("active") => Status::Active,
            Some("paused") => Status::Paused,
            Some(other) => {
                self.report(&format!("{path}.status"), format_args!("{other:?} is not one of active, paused"));
                Status::Active
            }
        }
    }

    fn ranged<T: TryFrom<i64>>(&mut self, path: &str, field: &str, given: Option<i64>, range: &Range) -> Option<T> {
        let given = given?;
        let value = range.allowed.contains(&given).then(|| T::try_from(given).ok()).flatten();
        if value.is_none() {
            self.report(&format!("{path}.{field}"), format_args!("{given} is not allowed: {}", range.words));
        }
        value
    }

    fn legacy_id(&mut self, kind: &'static str, path: &str, given: Option<&String>) -> Option<String> {
        let given = given?;
        if !(1..=64).contains(&given.len()) || !given.bytes().all(|byte| byte.is_ascii_graphic()) {
            self.report(&format!("{path}.legacy_id"), "is not allowed: use 1 to 64 visible ASCII characters");
        } else if !self.legacy_ids.insert((kind, given.clone())) {
            self.report(&format!("{path}.legacy_id"), format_args!("{given:?} is that of another {kind}"));
        }
        Some(given.clone())
    }

    /// The form of a name; characters that are not seen are looked for where what is stored is known (`screen`).
    fn name(&mut self, path: &str, field: &str, name: &str) {
        if let Some(allowed) = name_form_problem(name) {
            self.report(&format!("{path}.{field}"), format_args!("{name:?} is not allowed: {allowed}"));
        }
    }

    fn sellers(&mut self, document: &Document) -> BTreeMap<String, Seller> {
        let mut sellers = BTreeMap::new();
        for form in &document.sellers {
            let path = format!("sellers[{:?}]", form.username);
            if !is_username(&form.username) {
                self.report(&format!("{path}.username"), "is not allowed: use 1 to 64 of a-z 0-9 . _ -");
            }
            self.name(&path, "name", &form.name);
            let status = self.word(&path, "status", form.status.as_deref(), UserStatus::Active);
            if !self.sellers.insert(form.username.clone()) {
                self.report(&path, "is there twice");
            }
            let legacy_id = self.legacy_id("seller", &path, form.legacy_id.as_ref());
            sellers.insert(form.username.clone(), Seller { name: form.name.clone(), status, legacy_id });
        }
        sellers
    }

    fn clients(&mut self, document: &Document) -> BTreeMap<String, Client> {
        let mut clients = BTreeMap::new();
        for form in &document.clients {
            let key = form.identifier.to_ascii_lowercase();
            if !self.clients.insert(key.clone()) {
                self.report(
                    &format!("clients[{:?}]", form.identifier),
                    "is there twice (upper and lower case are one)",
                );
            }
            if let Some(client) = self.client(form) {
                clients.insert(key, client);
            }
        }
        clients
    }

    fn client(&mut self, form: &ClientForm) -> Option<Client> {
        let path = format!("clients[{:?}]", form.identifier);
        let identifier: Option<ClientIdentifier> = form.identifier.parse().ok();
        if identifier.is_none() {
            let problem = format!("{:?} is not allowed: use 1 to 40 of A-Z a-z 0-9 _ -", form.identifier);
            self.report(&format!("{path}.identifier"), problem);
        }
        if identifier.as_ref().is_some_and(reserved) {
            let kept = "is kept for the node's own objects (anonymous, overflow, default_outbound_endpoint, carrier…, capconduit…)";
            self.report(&format!("{path}.identifier"), kept);
        }
        self.name(&path, "name", &form.name);
        let status = self.status(&path, form.status.as_deref());
        let max_concurrency = self.ranged(&path, "max_concurrency", form.max_concurrency, &CAP);
        let access = form.access.as_deref().map(str::parse::<Access>);
        let access =
            access.and_then(|access| access.map_err(|error| self.report(&format!("{path}.access"), error)).ok());
        self.for_people(&path, form);
        let sellers = form.sellers.as_ref().map(|sellers| self.named_sellers(&path, sellers));
        let sip = form.sip.check(&mut |field, problem| self.report(&format!("{path}.sip.{field}"), problem));
        let sip = sip?;
        Some(Client {
            identifier: identifier?,
            name: form.name.clone(),
            status,
            max_concurrency,
            send_headers: form.send_headers.unwrap_or(false),
            access,
            sellers,
            mask_name: form.mask_name.clone(),
            contact: form.contact.clone(),
            time_zone: form.time_zone.clone(),
            secrets: Secrets::default(),
            given: Given::new(&sip, &form.sip),
            sip,
        })
    }

    /// What is known of a client besides how it is called; an empty text takes it away.
    fn for_people(&mut self, path: &str, form: &ClientForm) {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(alias) = given(&form.mask_name) {
            self.name(path, "mask_name", &alias);
        }
        if let Some(contact) = given(&form.contact)
            && (contact.chars().count() > 500 || contact.chars().any(|c| c.is_control() && c != '\n'))
        {
            let allowed = "use 1 to 500 characters, none of them a control character other than a line break";
            self.report(&format!("{path}.contact"), format_args!("is not allowed: {allowed}"));
        }
        if let Some(zone) = given(&form.time_zone)
            && zone.parse::<chrono_tz::Tz>().is_err()
        {
            self.report(
                &format!("{path}.time_zone"),
                format_args!("{zone:?} is not an IANA name such as Europe/London"),
            );
        }
    }

    fn named_sellers(&mut self, path: &str, usernames: &[String]) -> BTreeSet<String> {
        let mut sellers = BTreeSet::new();
        for username in usernames {
            if !self.sellers.contains(username) {
                let problem = format!("{username:?} is not the username of one of [[sellers]]");
                self.report(&format!("{path}.sellers"), problem);
            }
            if !sellers.insert(username.clone()) {
                self.report(&format!("{path}.sellers"), format_args!("{username:?} is there twice"));
            }
        }
        sellers
    }

    fn dids(&mut self, document: &Document) -> BTreeMap<String, Did> {
        let mut dids = BTreeMap::new();
        for form in &document.dids {
            let path = format!("dids[{:?}]", form.number);
            let number = self.number(&path, form);
            self.seller_exists(&path, &form.seller);
            let status = self.status(&path, form.status.as_deref());
            if self.owners.insert(number.text().to_owned(), form.seller.clone()).is_some() {
                self.report(&path, "is there twice");
            }
            let legacy_id = self.legacy_id("did", &path, form.legacy_id.as_ref());
            let did = Did { raw: number.is_raw(), seller: form.seller.clone(), status, legacy_id };
            dids.insert(number.text().to_owned(), did);
        }
        dids
    }

    /// The number as it is stored; as it is written where it is none.
    fn number(&mut self, path: &str, form: &DidForm) -> Number {
        written::read_declared(&form.number, form.raw).unwrap_or_else(|fault| {
            self.report(&format!("{path}.number"), fault.kind);
            Number::Raw(form.number.clone())
        })
    }

    fn seller_exists(&mut self, path: &str, seller: &str) {
        if !self.sellers.contains(seller) {
            self.report(
                &format!("{path}.seller"),
                format_args!("{seller:?} is not the username of one of [[sellers]]"),
            );
        }
    }

    fn campaigns(&mut self, document: &Document) -> BTreeMap<CampaignKey, (Campaign, BTreeMap<String, Link>)> {
        let mut campaigns = BTreeMap::new();
        for form in &document.campaigns {
            let path = format!("campaigns[{:?}]", form.name);
            let campaign = self.campaign(&path, form);
            let links = self.links(&path, form);
            let key = (form.seller.clone(), form.name.clone());
            let Some(campaign) = campaign else { continue };
            if campaigns.insert(key, (campaign, links)).is_some() {
                self.report(&path, format_args!("is there twice for seller {:?}", form.seller));
            }
        }
        campaigns
    }

    fn campaign(&mut self, path: &str, form: &CampaignForm) -> Option<Campaign> {
        self.name(path, "name", &form.name);
        self.seller_exists(path, &form.seller);
        let strategy = form.routing_strategy.parse();
        let strategy = strategy.map_err(|error: String| self.report(&format!("{path}.routing_strategy"), error)).ok();
        let mut dids = BTreeSet::new();
        for number in &form.dids {
            let path = format!("{path}.dids");
            let stored = written::read(number).map_or_else(|_| number.clone(), |number| number.text().to_owned());
            match self.owners.get(&stored) {
                None => self.report(&path, format_args!("{number:?} is not the number of one of [[dids]]")),
                Some(owner) if *owner != form.seller => {
                    let problem = format!("{number:?} belongs to seller {owner:?}, not to {:?}", form.seller);
                    self.report(&path, problem);
                }
                Some(_) => {}
            }
            if !dids.insert(stored) {
                self.report(&path, format_args!("{number:?} is there twice"));
            }
        }
        let dial = self.ranged(path, "dial_timeout_seconds", form.dial_timeout_seconds, &RING);
        Some(Campaign {
            dial_timeout_seconds: dial.unwrap_or(20),
            setup_budget_seconds: self.ranged(path, "setup_budget_seconds", form.setup_budget_seconds, &BUDGET),
            max_duration_seconds: self.ranged(path, "max_duration_seconds", form.max_duration_seconds, &DURATION),
            max_concurrency: self.ranged(path, "max_concurrency", form.max_concurrency, &CAP),
            early_media: form.early_media.unwrap_or(true),
            rejections: self.rejections(&format!("{path}.rejections"), form.rejections.as_ref()),
            status: self.status(path, form.status.as_deref()),
            legacy_id: self.legacy_id("campaign", path, form.legacy_id.as_ref()),
            dids,
            strategy: strategy?,
        })
    }

    fn rejections(&mut self, path: &str, form: Option<&RejectionsForm>) -> CampaignRejections {
        let Some(form) = form else { return CampaignRejections::default() };
        let mut code = |name: &str, value: Option<i64>| {
            let code = u16::try_from(value?).ok().filter(|code| REJECTION_CODES.contains(code));
            if code.is_none() {
                self.report(&format!("{path}.{name}"), rejection_problem());
            }
            code
        };
        CampaignRejections {
            inactive_campaign: code("inactive_campaign", form.inactive_campaign),
            no_active_link: code("no_active_link", form.no_active_link),
            all_full: code("all_full", form.all_full),
            nobody_answered: code("nobody_answered", form.nobody_answered),
        }
    }

    fn links(&mut self, campaign: &str, form: &CampaignForm) -> BTreeMap<String, Link> {
        let mut links = BTreeMap::new();
        for form in &form.links {
            let path = format!("{campaign}.links[{:?}]", form.client);
            let key = form.client.to_ascii_lowercase();
            if !self.clients.contains(&key) {
                self.report(&path, format_args!("{:?} is not the identifier of one of [[clients]]", form.client));
            }
            let link = self.link(&path, form);
            if links.insert(key, link).is_some() {
                self.report(&path, "is there twice in the campaign");
            }
        }
        links
    }

    fn link(&mut self, path: &str, form: &LinkForm) -> Link {
        Link {
            max_concurrency: self.ranged(path, "max_concurrency", form.max_concurrency, &CAP),
            total_calls_allowed: self.ranged(path, "total_calls_allowed", form.total_calls_allowed, &TOTAL),
            forwarding_priority: self
                .ranged(path, "forwarding_priority", form.forwarding_priority, &PRIORITY)
                .unwrap_or(1),
            weight: self.ranged(path, "weight", form.weight, &WEIGHT).unwrap_or(1),
            ring_timeout_seconds: self.ranged(path, "ring_timeout_seconds", form.ring_timeout_seconds, &LINK_RING),
            count_on: self.word(path, "count_on", form.count_on.as_deref(), CountOn::Answered),
            status: self.status(path, form.status.as_deref()),
            legacy_id: self.legacy_id("link", path, form.legacy_id.as_ref()),
        }
    }

    fn one_active_campaign_per_did(&mut self, state: &State) {
        let mut feeds: BTreeMap<&str, &str> = BTreeMap::new();
        for ((_, name), (campaign, _)) in &state.campaigns {
            if campaign.status != Status::Active {
                continue;
            }
            for number in &campaign.dids {
                if let Some(other) = feeds.insert(number, name) {
                    let problem =
                        format!("{number:?} feeds {other:?} already: a DID feeds at most one active campaign");
                    self.report(&format!("campaigns[{name:?}].dids"), problem);
                }
            }
        }
    }
}

/// What is allowed, when a SIP status for callers who reach nobody is not.
#[must_use]
pub fn rejection_problem() -> String {
    let codes: Vec<String> = REJECTION_CODES.iter().map(ToString::to_string).collect();
    format!("use one of {}", codes.join(", "))
}
