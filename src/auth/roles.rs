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

words! {
    /// Every operation of the API that asks who calls; the word is its `operationId`.
    Operation {
        /// `POST /auth/logout`
        Logout = "logout",
        /// `GET /auth/me`
        GetMe = "getMe",
        /// `POST /auth/password`
        ChangePassword = "changePassword",
        /// `GET /auth/tokens`
        ListTokens = "listTokens",
        /// `POST /auth/tokens`
        CreateToken = "createToken",
        /// `DELETE /auth/tokens/{id}`
        RevokeToken = "revokeToken",
        /// `GET /users`
        ListUsers = "listUsers",
        /// `POST /users`
        CreateUser = "createUser",
        /// `GET /users/{id}`
        GetUser = "getUser",
        /// `PATCH /users/{id}`
        UpdateUser = "updateUser",
        /// `GET /calls`
        ListCalls = "listCalls",
        /// `GET /calls/{id}`
        GetCall = "getCall",
        /// `GET /calls/summary`
        SummarizeCalls = "summarizeCalls",
        /// `GET /calls/export`
        ExportCalls = "exportCalls",
        /// `GET /live/calls`
        ListLiveCalls = "listLiveCalls",
        /// `GET /live/links`
        ListLiveLinks = "listLiveLinks",
        /// `DELETE /live/calls/{id}`
        HangUpCall = "hangUpCall",
        /// `POST /route`
        PreviewRoute = "previewRoute",
        /// `GET /audit`
        ListAudit = "listAudit",
        /// `GET /clients`
        ListClients = "listClients",
        /// `POST /clients`
        CreateClient = "createClient",
        /// `GET /clients/{id}`
        GetClient = "getClient",
        /// `PATCH /clients/{id}`
        UpdateClient = "updateClient",
        /// `DELETE /clients/{id}`
        DeleteClient = "deleteClient",
        /// `GET /clients/{id}/sellers`
        ListClientSellers = "listClientSellers",
        /// `PUT /clients/{id}/sellers/{seller_id}`
        AddClientSeller = "addClientSeller",
        /// `DELETE /clients/{id}/sellers/{seller_id}`
        RemoveClientSeller = "removeClientSeller",
        /// `GET /dids`
        ListDids = "listDids",
        /// `POST /dids`
        CreateDid = "createDid",
        /// `POST /dids/bulk`
        CreateDids = "createDids",
        /// `GET /dids/{id}`
        GetDid = "getDid",
        /// `PATCH /dids/{id}`
        UpdateDid = "updateDid",
        /// `DELETE /dids/{id}`
        DeleteDid = "deleteDid",
        /// `GET /campaigns`
        ListCampaigns = "listCampaigns",
        /// `POST /campaigns`
        CreateCampaign = "createCampaign",
        /// `GET /campaigns/{id}`
        GetCampaign = "getCampaign",
        /// `PATCH /campaigns/{id}`
        UpdateCampaign = "updateCampaign",
        /// `DELETE /campaigns/{id}`
        DeleteCampaign = "deleteCampaign",
        /// `GET /campaigns/{id}/dids`
        ListCampaignDids = "listCampaignDids",
        /// `PUT /campaigns/{id}/dids/{did_id}`
        AddCampaignDid = "addCampaignDid",
        /// `DELETE /campaigns/{id}/dids/{did_id}`
        RemoveCampaignDid = "removeCampaignDid",
        /// `GET /campaigns/{id}/links`
        ListLinks = "listLinks",
        /// `POST /campaigns/{id}/links`
        CreateLink = "createLink",
        /// `GET /campaigns/{id}/links/{link_id}`
        GetLink = "getLink",
        /// `PATCH /campaigns/{id}/links/{link_id}`
        UpdateLink = "updateLink",
        /// `DELETE /campaigns/{id}/links/{link_id}`
        DeleteLink = "deleteLink",
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

impl Operation {
    /// The `operationId` in the OpenAPI document.
    #[must_use]
    pub const fn id(self) -> &'static str {
        self.as_str()
    }

    /// Whether it changes anything: a token of scope `read` may not.
    #[must_use]
    pub const fn writes(self) -> bool {
        match self {
            Self::GetMe | Self::ListTokens | Self::ListUsers | Self::GetUser => false,
            Self::ListCalls | Self::GetCall | Self::SummarizeCalls | Self::ExportCalls => false,
            Self::ListLiveCalls | Self::ListLiveLinks | Self::PreviewRoute | Self::ListAudit => false,
            Self::ListClients
            | Self::GetClient
            | Self::ListClientSellers
            | Self::ListDids
            | Self::GetDid
            | Self::ListCampaigns
            | Self::GetCampaign
            | Self::ListCampaignDids
            | Self::ListLinks
            | Self::GetLink => false,
            Self::Logout
            | Self::ChangePassword
            | Self::CreateToken
            | Self::RevokeToken
            | Self::CreateUser
            | Self::UpdateUser
            | Self::HangUpCall => true,
            Self::CreateClient
            | Self::UpdateClient
            | Self::DeleteClient
            | Self::AddClientSeller
            | Self::RemoveClientSeller
            | Self::CreateDid
            | Self::CreateDids
            | Self::UpdateDid
            | Self::DeleteDid
            | Self::CreateCampaign
            | Self::UpdateCampaign
            | Self::DeleteCampaign
            | Self::AddCampaignDid
            | Self::RemoveCampaignDid
            | Self::CreateLink
            | Self::UpdateLink
            | Self::DeleteLink => true,
        }
    }

    /// Whether an API token may do it at all: none manages users, tokens or passwords, or ends a session.
    #[must_use]
    pub const fn for_tokens(self) -> bool {
        match self {
            Self::GetMe => true,
            Self::ListCalls | Self::GetCall | Self::SummarizeCalls | Self::ExportCalls => true,
            Self::ListLiveCalls | Self::ListLiveLinks | Self::HangUpCall | Self::PreviewRoute | Self::ListAudit => true,
            Self::ListClients
            | Self::GetClient
            | Self::ListClientSellers
            | Self::ListDids
            | Self::GetDid
            | Self::ListCampaigns
            | Self::GetCampaign
            | Self::ListCampaignDids
            | Self::ListLinks
            | Self::GetLink
            | Self::CreateClient
            | Self::UpdateClient
            | Self::DeleteClient
            | Self::AddClientSeller
            | Self::RemoveClientSeller
            | Self::CreateDid
            | Self::CreateDids
            | Self::UpdateDid
            | Self::DeleteDid
            | Self::CreateCampaign
            | Self::UpdateCampaign
            | Self::DeleteCampaign
            | Self::AddCampaignDid
            | Self::RemoveCampaignDid
            | Self::CreateLink
            | Self::UpdateLink
            | Self::DeleteLink => true,
            Self::Logout
            | Self::ChangePassword
            | Self::ListTokens
            | Self::CreateToken
            | Self::RevokeToken
            | Self::ListUsers
            | Self::CreateUser
            | Self::GetUser
            | Self::UpdateUser => false,
        }
    }

    /// Whether a user whose password somebody else has set may do it before changing that.
    #[must_use]
    pub const fn before_password_change(self) -> bool {
        matches!(self, Self::Logout | Self::GetMe | Self::ChangePassword)
    }
}

/// What `role` may do: the table.
#[must_use]
pub const fn reach(role: Role, operation: Operation) -> Reach {
    use Reach::{All, None, Own};
    let [admin, staff, seller] = match operation {
        Operation::Logout | Operation::GetMe | Operation::ChangePassword | Operation::CreateToken => [Own, Own, Own],
        Operation::ListTokens | Operation::RevokeToken => [All, Own, Own],
        Operation::ListUsers | Operation::CreateUser | Operation::GetUser | Operation::UpdateUser => [All, None, None],
        Operation::ListCalls | Operation::GetCall | Operation::SummarizeCalls | Operation::ExportCalls => {
            [All, All, Own]
        }
        Operation::ListLiveCalls | Operation::ListLiveLinks | Operation::HangUpCall => [All, All, Own],
        Operation::PreviewRoute => [All, All, Own],
        Operation::ListAudit => [All, None, Own],
        Operation::ListClients | Operation::GetClient => [All, All, Own],
        Operation::CreateClient
        | Operation::UpdateClient
        | Operation::DeleteClient
        | Operation::ListClientSellers
        | Operation::AddClientSeller
        | Operation::RemoveClientSeller => [All, All, None],
        Operation::ListDids
        | Operation::CreateDid
        | Operation::CreateDids
        | Operation::GetDid
        | Operation::UpdateDid
        | Operation::DeleteDid => [All, All, Own],
        Operation::ListCampaigns
        | Operation::GetCampaign
        | Operation::ListCampaignDids
        | Operation::ListLinks
        | Operation::GetLink
        | Operation::UpdateCampaign
        | Operation::UpdateLink => [All, All, Own],
        Operation::CreateCampaign
        | Operation::DeleteCampaign
        | Operation::AddCampaignDid
        | Operation::RemoveCampaignDid
        | Operation::CreateLink
        | Operation::DeleteLink => [All, None, Own],
    };
    match role {
        Role::Admin => admin,
        Role::Staff => staff,
        Role::Seller => seller,
    }
}

/// Which fields of a request's body a role may set; to it the others are unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fields {
    /// All but these.
    AllBut(&'static [&'static str]),
    /// These alone.
    Only(&'static [&'static str]),
}

impl Fields {
    /// Whether `field` may be set.
    #[must_use]
    pub fn has(self, field: &str) -> bool {
        match self {
            Self::AllBut(barred) => !barred.contains(&field),
            Self::Only(known) => known.contains(&field),
        }
    }
}

/// Which fields `role` may set in `operation`: the table.
#[must_use]
pub const fn fields(role: Role, operation: Operation) -> Fields {
    match (role, operation) {
        (
            Role::Seller,
            Operation::CreateDid | Operation::CreateDids | Operation::UpdateDid | Operation::CreateCampaign,
        ) => Fields::AllBut(&["seller_id"]),
        (Role::Staff, Operation::CreateClient | Operation::UpdateClient) => Fields::AllBut(&["mask_name"]),
        (Role::Staff, Operation::UpdateCampaign | Operation::UpdateLink) => Fields::Only(&["status"]),
        _ => Fields::AllBut(&[]),
    }
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
    fn tokens_never_touch_users_tokens_or_passwords() {
        for operation in Operation::ALL {
            let touches = ["User", "Token", "Password"].iter().any(|word| operation.id().contains(word));
            assert!(!(touches && operation.for_tokens()), "{operation}");
        }
    }
}
