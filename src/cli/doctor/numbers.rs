//! PURE: whether every DID is one seller's and can be matched by a call.

use super::report::Check;
use crate::routing::number::readers::{Claim, Readers, told};
use crate::routing::snapshot::Snapshot;

/// Faults that are named one by one.
const NAMED_AT_MOST: usize = 20;

/// The one check of the DIDs in force.
pub(super) fn check(snapshot: &Snapshot, readers: &Readers) -> Check {
    const SUBJECT: &str = "DIDs";
    let mut dids: Vec<_> = snapshot.dids.iter().collect();
    dids.sort_by_key(|(number, _)| *number);
    let claims: Vec<_> = dids.iter().map(|(number, did)| Claim { number, raw: did.raw, seller: did.seller }).collect();
    let overlap = |(raw, other): (usize, usize)| {
        let ((raw, raws), (other, others)) = (dids[raw], dids[other]);
        told((raw.as_str(), &raws.seller_name), (other.as_str(), &others.seller_name))
    };
    let mut faults: Vec<String> = readers.overlaps(&claims, |_| true).into_iter().map(overlap).collect();
    faults.extend(dids.iter().filter_map(|(number, did)| {
        readers.unmatched(snapshot, number, did).map(|why| format!("{number} {why}: no call can match it"))
    }));
    let raw = dids.iter().filter(|(_, did)| did.raw).count();
    if faults.is_empty() {
        return Check::ok(SUBJECT, format!("{raw} of {} are raw, each is one seller's and can be matched", dids.len()));
    }
    let more = faults.len().saturating_sub(NAMED_AT_MOST);
    faults.truncate(NAMED_AT_MOST);
    if more > 0 {
        faults.push(format!("and {more} more"));
    }
    let mend = "find out whose the number is, and archive or delete the other DID; write what is a number as E.164";
    Check::warning(SUBJECT, faults.join("; "), mend)
}

#[cfg(test)]
mod tests {
    use super::super::report::Outcome;
    use super::*;
    use crate::id::{DidId, UserId};
    use crate::routing::number::Normaliser;
    use crate::routing::snapshot::{Did, Status};

    fn judged(dids: &[(&str, i64)]) -> (Outcome, String) {
        let did = |(id, seller)| Did {
            id: DidId(id),
            raw: true,
            seller: UserId(seller),
            seller_name: format!("Seller {seller}"),
            status: Status::Active,
            campaign: None,
        };
        let dids = dids.iter().zip(1..).map(|((number, seller), id)| {
            let raw = !number.starts_with('+');
            ((*number).to_owned(), Did { raw, ..did((id, *seller)) })
        });
        let snapshot = Snapshot { dids: dids.collect(), ..Snapshot::default() };
        let check = check(&snapshot, &Readers::new([Normaliser::new(Some("GB"), &std::collections::BTreeMap::new())]));
        assert_eq!(check.mend.is_some(), check.outcome == Outcome::Warning);
        (check.outcome, check.found)
    }

    #[test]
    fn two_sellers_with_one_number_and_what_no_call_can_match_are_named() {
        let (outcome, found) = judged(&[("+442079460958", 1), ("02079460959", 2), ("+14155550101", 1), ("sales", 3)]);
        assert!(outcome == Outcome::Ok && found.starts_with("2 of 4 are raw"), "{found}");
        let (outcome, found) = judged(&[("+442079460958", 1), ("02079460958", 2)]);
        assert_eq!(outcome, Outcome::Warning);
        for told in [
            "02079460958 of Seller 2 may be read as +442079460958 of Seller 1",
            "by every node",
            "no call can match it",
        ] {
            assert!(found.contains(told), "{told} in {found}");
        }
        let (_, found) = judged(&[("+14155550101", 1), ("4155550101", 2)]);
        assert!(found.contains("4155550101 of Seller 2") && !found.contains("no call can match"), "{found}");
        let (_, found) = judged(&[("+442079460958", 1), ("02079460958", 1)]);
        assert!(!found.contains(" of Seller") && found.contains("no call can match it"), "{found}");
        assert!(judged(&[("a@b", 1)]).1.contains("SIP user part"));
        let many: Vec<_> = (0..50).map(|n| format!("a@{n}")).collect();
        let many: Vec<_> = many.iter().map(|number| (number.as_str(), 1)).collect();
        assert!(judged(&many).1.ends_with("and 30 more"));
    }
}
