//! Whoever asks for numbers learns which ones somebody else has. What a seller may learn so is bounded, one by one or in bulk.

use std::sync::Arc;

use poem::{Endpoint, Request, Response, Result};

use super::State;
use super::admission::Rates;
use super::error::ApiError;
use super::security;
use crate::auth::roles::{Operation, Role};

/// What tells that somebody else has a number.
const UNAVAILABLE: &str = "did_unavailable";

/// Whether numbers are asked for.
pub(super) const fn asks(operation: Operation) -> bool {
    matches!(operation, Operation::CreateDid | Operation::CreateDids)
}

/// Carries out a request that makes DIDs. Of numbers that cannot be had a seller is told as many as it has guesses left.
pub(super) async fn limited(request: Request, endpoint: &impl Endpoint<Output = Response>) -> Result<Response> {
    let seller = security::who(&request).filter(|who| who.role == Role::Seller).map(|who| who.user);
    let rates = request.data::<Arc<Rates>>().cloned();
    let clock = request.data::<State>().map(|state| state.clock);
    let (Some(seller), Some(rates), Some(clock)) = (seller, rates, clock) else {
        return endpoint.call(request).await;
    };
    // Before the database is asked, so that requests at once draw on one account. It stays taken where nobody waits for the answer.
    rates.guess(seller, clock.now().mono)?;
    let answered = endpoint.call(request).await.map_err(|error| match error.downcast::<ApiError>() {
        Ok(refusal) if refusal.code() == UNAVAILABLE => {
            let more = u32::try_from(refusal.errors().len().saturating_sub(1)).unwrap_or(u32::MAX);
            let told = 1 + rates.guess_more(seller, more, clock.now().mono);
            (true, poem::Error::from(cut(refusal, told)))
        }
        Ok(refusal) => (false, refusal.into()),
        Err(error) => (false, error),
    });
    if !matches!(answered, Err((true, _))) {
        rates.no_guess(seller);
    }
    answered.map_err(|(_, error)| error)
}

/// Names the first `told` numbers only.
fn cut(refusal: ApiError, told: u32) -> ApiError {
    let told = usize::try_from(told).unwrap_or(usize::MAX);
    if refusal.errors().len() <= told {
        return refusal;
    }
    let detail = format!("some of these numbers cannot be had: errors names the first {told}, others are not told now");
    let errors = refusal.errors().iter().take(told).cloned().collect();
    ApiError::conflict(UNAVAILABLE, detail).with_errors(errors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::error::FieldError;

    #[test]
    fn a_bulk_names_no_more_rows_than_there_are_guesses() {
        let rows = (0..5).map(|n| FieldError::new(format!("items[{n}].number"), "did_unavailable", "")).collect();
        let refusal = ApiError::conflict("did_unavailable", "some").with_errors(rows);
        assert_eq!(cut(refusal.clone(), 5).errors().len(), 5);
        let told = cut(refusal, 2);
        assert_eq!(told.errors().len(), 2);
        assert!(told.to_string().contains("first 2"), "{told}");
        assert!(cut(ApiError::conflict("did_unavailable", "one"), 1).errors().is_empty());
    }
}
