//! What clients, DIDs, campaigns and links have in common: whose objects are meant, fields that a role may set, merging.

use poem_openapi::types::MaybeUndefined;

use super::State;
use super::error::{ApiError, FieldError};
use super::security::Auth;
use crate::auth::principal::Principal;
use crate::auth::roles::{self, Operation, Reach};
use crate::store::change::{Editor, Keyset, Owner, Refusal};
use crate::text;

/// A caller that may carry out an operation.
pub(super) struct Caller {
    principal: Principal,
    operation: Operation,
    /// Whose objects it sees.
    pub(super) owner: Owner,
}

impl Caller {
    pub(super) fn new(auth: Auth, operation: Operation) -> Result<Self, ApiError> {
        let (principal, reach) = auth.may(operation)?;
        let owner = match reach {
            Reach::All => Owner::Anyone,
            Reach::Own | Reach::None => Owner::Only(principal.user),
        };
        Ok(Self { principal, operation, owner })
    }

    /// Who it is.
    pub(super) fn principal(&self) -> &Principal {
        &self.principal
    }

    pub(super) fn editor<'a>(&'a self, state: &'a State) -> Editor<'a> {
        Editor {
            db: &state.db,
            realtime: &state.realtime,
            actor: (&self.principal).into(),
            at: state.clock.now().wall,
            owner: self.owner,
        }
    }

    /// Refuses the fields that are given and that this caller's role may not set, as if there were none of that name.
    pub(super) fn may_set(&self, given: &[(&str, bool)]) -> Result<(), ApiError> {
        let allowed = roles::fields(self.principal.role, self.operation);
        let unknown =
            given.iter().filter(|(field, given)| *given && !allowed.has(field.rsplit('.').next().unwrap_or(field)));
        let unknown: Vec<_> =
            unknown.map(|(field, _)| FieldError::new(*field, "unknown_field", "is not known here")).collect();
        if unknown.is_empty() { Ok(()) } else { Err(ApiError::invalid(unknown)) }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let named = |code: &str, rows: Vec<(String, String)>| {
            rows.into_iter().map(|(field, detail)| FieldError::new(field, code, detail)).collect()
        };
        match refusal {
            // What a body refers to and is not there is not found either, and no more is said.
            Refusal::NotFound | Refusal::Unknown { .. } => Self::not_found(),
            Refusal::Stale { version } => Self::precondition_failed(version),
            Refusal::Conflict { code, detail } => Self::conflict(code, detail),
            Refusal::Counter { actual } => Self::conflict("counter_changed", format!("The count is {actual} by now."))
                .with_errors(vec![FieldError::new("expected", "counter_changed", actual.to_string())]),
            Refusal::Invalid(rows) => Self::invalid(named("invalid", rows)),
            Refusal::Taken(rows) => super::dids::unavailable(&rows, |row| format!("items[{row}].")),
            Refusal::AddressTaken(rows) => {
                Self::conflict("address_taken", "another client is known by, or at, one of these addresses: see errors")
                    .with_errors(named("address_taken", rows))
            }
            Refusal::Store(error) => error.into(),
        }
    }
}

/// Which rows a page reads.
pub(super) fn keyset(window: &super::page::Window<i64>) -> Keyset {
    Keyset { after: window.after, limit: window.read }
}

/// Takes the values of a merge (RFC 7396) over, and gathers what is wrong with them.
#[derive(Default)]
pub(super) struct Merge(pub(super) Vec<(String, String)>);

impl Merge {
    pub(super) fn wrong(&mut self, field: &str, detail: impl Into<String>) {
        self.0.push((field.to_owned(), detail.into()));
    }

    /// A value that cannot be cleared.
    pub(super) fn set<T, U: From<T>>(&mut self, field: &str, given: MaybeUndefined<T>, into: &mut U) {
        match given {
            MaybeUndefined::Undefined => {}
            MaybeUndefined::Null => self.wrong(field, "cannot be null"),
            MaybeUndefined::Value(value) => *into = value.into(),
        }
    }

    /// A value that null clears.
    pub(super) fn clearable<T>(&mut self, given: MaybeUndefined<T>, into: &mut Option<T>) {
        match given {
            MaybeUndefined::Undefined => {}
            MaybeUndefined::Null => *into = None,
            MaybeUndefined::Value(value) => *into = Some(value),
        }
    }

    /// A number of a narrower type. The schema's range is checked before; this one cannot fail where that holds.
    pub(super) fn number<T: TryFrom<i64>>(&mut self, field: &str, given: MaybeUndefined<i64>, into: &mut T) {
        let mut value = None;
        match given {
            MaybeUndefined::Null => self.wrong(field, "cannot be null"),
            given => self.limit(field, given, &mut value),
        }
        if let Some(value) = value {
            *into = value;
        }
    }

    /// The same, null meaning none.
    pub(super) fn limit<T: TryFrom<i64>>(&mut self, field: &str, given: MaybeUndefined<i64>, into: &mut Option<T>) {
        match given {
            MaybeUndefined::Undefined => {}
            MaybeUndefined::Null => *into = None,
            MaybeUndefined::Value(value) => match T::try_from(value) {
                Ok(value) => *into = Some(value),
                Err(_) => self.wrong(field, format!("{value} is out of range")),
            },
        }
    }

    /// A name for people in place of another; one that stays is taken as it is, however old the rule that it was taken by.
    pub(super) fn rename(&mut self, field: &str, given: MaybeUndefined<String>, into: &mut String) {
        if let MaybeUndefined::Value(name) = &given
            && name != into
        {
            self.name(field, name);
        }
        self.set(field, given, into);
    }

    /// A name for people.
    pub(super) fn name(&mut self, field: &str, name: &str) {
        if let Some(allowed) = text::name_problem(name) {
            self.wrong(field, allowed);
        }
    }

    pub(super) fn end(self) -> Result<(), Refusal> {
        if self.0.is_empty() { Ok(()) } else { Err(Refusal::Invalid(self.0)) }
    }
}
