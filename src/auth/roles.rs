//! PURE: the one table of what each role may do over the API. An operation without a row here does not compile; a test in `src/api`
//! compares the list with the generated OpenAPI document both ways.

use crate::routing::snapshot::words;

words! {
    /// What a user is.
    Role {
        /// Everything.
        Admin = "admin",
        /// Clients, DIDs and all calls.
        Staff = "staff",
        /// The own DIDs, campaigns, links and calls.
        Seller = "seller",
    }
}

words! {
    /// What an API token may do, at most.
    Scope {
        /// Look.
        Read = "read",
        /// Look and change.
        Write = "write",
    }
}

/// On whose objects a role may carry out an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// On none: 403.
    None,
    /// On its own; others do not exist for it (404).
    Own,
    /// On all.
    All,
}

/// What holds for an operation whoever calls.
struct Rule {
    writes: bool,
    for_tokens: bool,
    reach: [Reach; 3],
}

macro_rules! operations {
    ($(#[$doc:meta] $operation:ident = $id:literal: $does:ident by $who:ident, [$admin:ident, $staff:ident, $seller:ident];)+) => {
        words! {
            /// Every operation of the API that asks who calls; the word is its `operationId`.
            Operation { $(#[$doc] $operation = $id),+ }
        }

        impl Operation {
            const fn rule(self) -> Rule {
                match self {
                    $(Self::$operation => Rule {
                        writes: operations!(@does $does),
                        for_tokens: operations!(@who $who),
                        reach: [Reach::$admin, Reach::$staff, Reach::$seller],
                    }),+
                }
            }
        }
    };
    (@does look) => { false };
    (@does change) => { true };
    (@who token) => { true };
    (@who person) => { false };
}

// The table: `look` or `change` (which a token of scope `read` may not), by a `token` too or by a `person` who has logged in only (no
// token manages users, tokens or passwords, or ends a session), and the reach of [admin, staff, seller].
operations! {
    /// `POST /auth/logout`
    Logout = "logout": change by person, [Own, Own, Own];
    /// `GET /auth/me`
    GetMe = "getMe": look by token, [Own, Own, Own];
    /// `POST /auth/password`
    ChangePassword = "changePassword": change by person, [Own, Own, Own];
    /// `GET /auth/sessions`
    ListSessions = "listSessions": look by person, [All, Own, Own];
    /// `DELETE /auth/sessions/{session_id}`
    CloseSession = "closeSession": change by person, [All, Own, Own];
    /// `GET /auth/tokens`
    ListTokens = "listTokens": look by person, [All, Own, Own];
    /// `POST /auth/tokens`
    CreateToken = "createToken": change by person, [Own, Own, Own];
    /// `DELETE /auth/tokens/{id}`
    RevokeToken = "revokeToken": change by person, [All, Own, Own];
    /// `GET /users`
    ListUsers = "listUsers": look by person, [All, None, None];
    /// `POST /users`
    CreateUser = "createUser": change by person, [All, None, None];
    /// `GET /users/{id}`
    GetUser = "getUser": look by person, [All, None, None];
    /// `PATCH /users/{id}`
    UpdateUser = "updateUser": change by person, [All, None, None];
    /// `GET /calls`
    ListCalls = "listCalls": look by token, [All, All, Own];
    /// `GET /calls/{id}`
    GetCall = "getCall": look by token, [All, All, Own];
    /// `GET /calls/summary`
    SummarizeCalls = "summarizeCalls": look by token, [All, All, Own];
    /// `GET /calls/export`
    ExportCalls = "exportCalls": look by token, [All, All, Own];
    /// `GET /live/calls`
    ListLiveCalls = "listLiveCalls": look by token, [All, All, Own];
    /// `GET /live/links`
    ListLiveLinks = "listLiveLinks": look by token, [All, All, Own];
    /// `GET /live/events`
    StreamLiveEvents = "streamLiveEvents": look by token, [All, All, Own];
    /// `DELETE /live/calls/{id}`
    HangUpCall = "hangUpCall": change by token, [All, All, Own];
    /// `GET /nodes`
    ListNodes = "listNodes": look by token, [All, All, None];
    /// `POST /nodes/{name}/release`
    ReleaseNode = "releaseNode": change by token, [All, None, None];
    /// `POST /nodes/{name}/drain`
    DrainNode = "drainNode": change by token, [All, None, None];
    /// `DELETE /nodes/{name}/drain`
    EndNodeDrain = "endNodeDrain": change by token, [All, None, None];
    /// `POST /route`
    PreviewRoute = "previewRoute": look by token, [All, All, Own];
    /// `GET /audit`
    ListAudit = "listAudit": look by token, [All, None, Own];
    /// `GET /legacy_ids/{kind}`
    ListLegacyIds = "listLegacyIds": look by token, [All, None, None];
    /// `PUT /legacy_ids/{kind}`
    SetLegacyIds = "setLegacyIds": change by token, [All, None, None];
    /// `GET /clients`
    ListClients = "listClients": look by token, [All, All, Own];
    /// `POST /clients`
    CreateClient = "createClient": change by token, [All, All, None];
    /// `GET /clients/{id}`
    GetClient = "getClient": look by token, [All, All, Own];
    /// `PATCH /clients/{id}`
    UpdateClient = "updateClient": change by token, [All, All, None];
    /// `DELETE /clients/{id}`
    DeleteClient = "deleteClient": change by token, [All, All, None];
    /// `GET /clients/{id}/state`
    GetClientState = "getClientState": look by token, [All, All, None];
    /// `GET /clients/{id}/sellers`
    ListClientSellers = "listClientSellers": look by token, [All, All, None];
    /// `PUT /clients/{id}/sellers/{seller_id}`
    AddClientSeller = "addClientSeller": change by token, [All, All, None];
    /// `DELETE /clients/{id}/sellers/{seller_id}`
    RemoveClientSeller = "removeClientSeller": change by token, [All, All, None];
    /// `GET /dids`
    ListDids = "listDids": look by token, [All, All, Own];
    /// `POST /dids`
    CreateDid = "createDid": change by token, [All, All, Own];
    /// `POST /dids/bulk`
    CreateDids = "createDids": change by token, [All, All, Own];
    /// `GET /dids/{id}`
    GetDid = "getDid": look by token, [All, All, Own];
    /// `PATCH /dids/{id}`
    UpdateDid = "updateDid": change by token, [All, All, Own];
    /// `DELETE /dids/{id}`
    DeleteDid = "deleteDid": change by token, [All, All, Own];
    /// `GET /campaigns`
    ListCampaigns = "listCampaigns": look by token, [All, All, Own];
    /// `POST /campaigns`
    CreateCampaign = "createCampaign": change by token, [All, None, Own];
    /// `GET /campaigns/{id}`
    GetCampaign = "getCampaign": look by token, [All, All, Own];
    /// `PATCH /campaigns/{id}`
    UpdateCampaign = "updateCampaign": change by token, [All, All, Own];
    /// `DELETE /campaigns/{id}`
    DeleteCampaign = "deleteCampaign": change by token, [All, None, Own];
    /// `GET /campaigns/{id}/readiness`
    GetCampaignReadiness = "getCampaignReadiness": look by token, [All, All, Own];
    /// `GET /campaigns/{id}/dids`
    ListCampaignDids = "listCampaignDids": look by token, [All, All, Own];
    /// `PUT /campaigns/{id}/dids/{did_id}`
    AddCampaignDid = "addCampaignDid": change by token, [All, None, Own];
    /// `DELETE /campaigns/{id}/dids/{did_id}`
    RemoveCampaignDid = "removeCampaignDid": change by token, [All, None, Own];
    /// `GET /campaigns/{id}/links`
    ListLinks = "listLinks": look by token, [All, All, Own];
    /// `POST /campaigns/{id}/links`
    CreateLink = "createLink": change by token, [All, None, Own];
    /// `GET /campaigns/{id}/links/{link_id}`
    GetLink = "getLink": look by token, [All, All, Own];
    /// `PATCH /campaigns/{id}/links/{link_id}`
    UpdateLink = "updateLink": change by token, [All, All, Own];
    /// `POST /campaigns/{id}/links/{link_id}/reset-counter`
    ResetLinkCounter = "resetLinkCounter": change by token, [All, None, None];
    /// `DELETE /campaigns/{id}/links/{link_id}`
    DeleteLink = "deleteLink": change by token, [All, None, Own];
}

impl Operation {
    /// The `operationId` in the OpenAPI document.
    #[must_use]
    pub const fn id(self) -> &'static str {
        self.as_str()
    }

    /// Whether it changes anything: a token of scope `read` may not.
    #[must_use]
    pub const fn writes(self) -> bool {
        self.rule().writes
    }

    /// Whether an API token may do it at all.
    #[must_use]
    pub const fn for_tokens(self) -> bool {
        self.rule().for_tokens
    }

    /// Whether a user whose password somebody else has set may do it before changing that.
    #[must_use]
    pub const fn before_password_change(self) -> bool {
        matches!(self, Self::Logout | Self::GetMe | Self::ChangePassword)
    }
}

/// On whose objects `role` may carry out `operation`.
#[must_use]
pub const fn reach(role: Role, operation: Operation) -> Reach {
    let [admin, staff, seller] = operation.rule().reach;
    match role {
        Role::Admin => admin,
        Role::Staff => staff,
        Role::Seller => seller,
    }
}

/// Fields of a request's body, and who may set them.
type Settable = (&'static [&'static str], &'static [Role]);

const EVERYBODY: &[Role] = &[Role::Admin, Role::Staff, Role::Seller];
const ADMINS_AND_STAFF: &[Role] = &[Role::Admin, Role::Staff];
const ADMINS_AND_SELLERS: &[Role] = &[Role::Admin, Role::Seller];
const ADMINS: &[Role] = &[Role::Admin];

/// Which fields of an operation's body each role may set: the table. A field that it does not name is nobody's, and one that is named
/// without a role is not that role's: to whom it is not, it is unknown.
const fn settable(operation: Operation) -> &'static [Settable] {
    const CAMPAIGN: &[&str] = &[
        "name",
        "dial_timeout_seconds",
        "early_media",
        "max_concurrency",
        "max_duration_seconds",
        "rejections",
        "routing_strategy",
        "setup_budget_seconds",
    ];
    const LINK: &[&str] = &[
        "count_on",
        "forwarding_priority",
        "max_concurrency",
        "ring_timeout_seconds",
        "total_calls_allowed",
        "weight",
    ];
    const CLIENT: &[&str] =
        &["name", "access", "contact", "max_concurrency", "send_headers", "sip", "status", "time_zone"];
    match operation {
        Operation::ChangePassword => &[(&["current_password", "new_password", "revoke_tokens"], EVERYBODY)],
        Operation::CreateToken => &[(&["name", "expires_at", "scope"], EVERYBODY)],
        Operation::CreateUser => &[(&["name", "password", "role", "username"], ADMINS)],
        Operation::UpdateUser => &[(&["name", "password", "revoke_tokens", "role", "status", "stop_routing"], ADMINS)],
        Operation::CreateClient => {
            &[(CLIENT, ADMINS_AND_STAFF), (&["client_identifier"], ADMINS_AND_STAFF), (&["mask_name"], ADMINS)]
        }
        Operation::UpdateClient => &[(CLIENT, ADMINS_AND_STAFF), (&["mask_name"], ADMINS)],
        // Of a row as well as of the one DID.
        Operation::CreateDid => &[(&["number", "status"], EVERYBODY), (&["raw", "seller_id"], ADMINS_AND_STAFF)],
        Operation::CreateDids => {
            &[(&["items", "number", "status"], EVERYBODY), (&["raw", "seller_id"], ADMINS_AND_STAFF)]
        }
        Operation::UpdateDid => &[(&["status"], EVERYBODY), (&["seller_id"], ADMINS_AND_STAFF)],
        Operation::CreateCampaign => {
            &[(CAMPAIGN, ADMINS_AND_SELLERS), (&["status"], ADMINS_AND_SELLERS), (&["seller_id"], ADMINS)]
        }
        Operation::UpdateCampaign => &[(CAMPAIGN, ADMINS_AND_SELLERS), (&["status"], EVERYBODY)],
        Operation::CreateLink => &[(LINK, ADMINS_AND_SELLERS), (&["client_id", "status"], ADMINS_AND_SELLERS)],
        Operation::UpdateLink => &[(LINK, ADMINS_AND_SELLERS), (&["status"], EVERYBODY)],
        Operation::ResetLinkCounter | Operation::ReleaseNode => &[(&["expected"], ADMINS)],
        Operation::SetLegacyIds => &[(&["items"], ADMINS)],
        Operation::PreviewRoute => &[(&["caller", "did", "node", "time", "usage"], EVERYBODY)],
        _ => &[],
    }
}

/// Which fields of a request's body a role may set; to it the others are unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fields {
    role: Role,
    rules: &'static [Settable],
}

impl Fields {
    /// Whether `field` may be set.
    #[must_use]
    pub fn has(self, field: &str) -> bool {
        self.rules.iter().any(|(fields, roles)| fields.contains(&field) && roles.contains(&self.role))
    }

    /// Whether somebody else may set `field`.
    #[must_use]
    pub fn bars(self, field: &str) -> bool {
        !self.has(field) && self.rules.iter().any(|(fields, _)| fields.contains(&field))
    }
}

/// Which fields `role` may set in `operation`.
#[must_use]
pub const fn fields(role: Role, operation: Operation) -> Fields {
    Fields { role, rules: settable(operation) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table as the issue says it, by what a role may do at all.
    #[test]
    fn only_admins_manage_users() {
        for operation in [Operation::ListUsers, Operation::CreateUser, Operation::GetUser, Operation::UpdateUser] {
            assert_eq!(reach(Role::Admin, operation), Reach::All);
            assert_eq!(reach(Role::Staff, operation), Reach::None);
            assert_eq!(reach(Role::Seller, operation), Reach::None);
        }
    }

    #[test]
    fn an_admin_may_everything_and_nobody_reaches_further() {
        let rank = |reach| [Reach::None, Reach::Own, Reach::All].iter().position(|it| *it == reach);
        for operation in Operation::ALL {
            let admin = reach(Role::Admin, *operation);
            assert_ne!(admin, Reach::None, "{operation}");
            for role in [Role::Staff, Role::Seller] {
                assert!(rank(reach(role, *operation)) <= rank(admin), "{role} {operation}");
            }
        }
    }

    #[test]
    fn a_field_that_is_not_named_is_nobodys_to_set() {
        for operation in Operation::ALL {
            for role in Role::ALL {
                let fields = fields(*role, *operation);
                assert!(
                    !fields.has("a_field_of_tomorrow") && !fields.bars("a_field_of_tomorrow"),
                    "{operation} {role}"
                );
                let any = settable(*operation).iter().any(|(_, roles)| roles.contains(role));
                assert!(
                    !any || reach(*role, *operation) != Reach::None,
                    "{role} may set what it does not reach: {operation}"
                );
            }
        }
        let staff = fields(Role::Staff, Operation::UpdateLink);
        assert!(staff.has("status") && !staff.has("weight") && staff.bars("weight"));
    }

    #[test]
    fn tokens_never_touch_users_sessions_tokens_or_passwords() {
        for operation in Operation::ALL {
            let touches = ["User", "Token", "Password", "Session"].iter().any(|word| operation.id().contains(word));
            assert!(!(touches && operation.for_tokens()), "{operation}");
        }
    }
}
