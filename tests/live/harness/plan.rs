//! Builds the TOML that `capconduit apply` takes, from a few words per object.

use std::fmt::Write as _;

use super::sipp::Sipp;

/// A declarative plan in the making: clients, then campaigns with their DIDs and links.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    clients: String,
    dids: String,
    campaigns: String,
}

impl Plan {
    /// One seller, `acme`, who owns everything.
    pub(crate) fn new() -> Self {
        Self { clients: String::new(), dids: String::new(), campaigns: String::new() }
    }

    /// A client at the call centre's address. `more` are further lines: the client's own first, then those of
    /// `[clients.sip]`.
    pub(crate) fn client(self, identifier: &str, centre: &Sipp, lines: (&str, &str)) -> Self {
        self.client_at(identifier, (centre.ip, centre.port), lines)
    }

    /// The same where the call centre is no sipp.
    pub(crate) fn client_at(mut self, identifier: &str, (ip, port): (&str, u16), (own, sip): (&str, &str)) -> Self {
        write!(
            self.clients,
            "[[clients]]\nidentifier = \"{identifier}\"\nname = \"Centre {identifier}\"\n{own}\n\
             [clients.sip]\nhost = \"{ip}\"\nport = {port}\n{sip}\n\n"
        )
        .expect("a string takes everything");
        self
    }

    /// A client that registers, and so has no address of its own.
    #[allow(dead_code, reason = "the demo does not need it")]
    pub(crate) fn registering_client(mut self, identifier: &str, password: &str) -> Self {
        write!(
            self.clients,
            "[[clients]]\nidentifier = \"{identifier}\"\nname = \"Centre {identifier}\"\n[clients.sip]\n\
             registration = {{ username = \"{identifier}\", password = \"{password}\" }}\n\n"
        )
        .expect("a string takes everything");
        self
    }

    /// A campaign fed by `did`; `settings` are its own lines (strategy `priority` unless they name one). Its links follow
    /// with [`Plan::link`].
    pub(crate) fn campaign(mut self, name: &str, did: &str, settings: &str) -> Self {
        write!(self.dids, "[[dids]]\nnumber = \"{did}\"\nseller = \"acme\"\n\n").expect("a string takes everything");
        let strategy = if settings.contains("routing_strategy") { "" } else { "routing_strategy = \"priority\"\n" };
        write!(
            self.campaigns,
            "[[campaigns]]\nname = \"{name}\"\nseller = \"acme\"\ndids = [\"{did}\"]\n{strategy}{settings}\n\n"
        )
        .expect("a string takes everything");
        self
    }

    /// A link of the last campaign to a client; `settings` are its lines.
    pub(crate) fn link(mut self, client: &str, settings: &str) -> Self {
        write!(self.campaigns, "[[campaigns.links]]\nclient = \"{client}\"\n{settings}\n\n")
            .expect("a string takes everything");
        self
    }

    /// The finished TOML.
    pub(crate) fn toml(&self) -> String {
        let seller = "[[sellers]]\nusername = \"acme\"\nname = \"Acme Leads\"\n\n";
        format!("{seller}{}{}{}", self.clients, self.dids, self.campaigns)
    }
}
