//! DIDs: own and foreign, single and in bulk.

use capconduit::auth::roles::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::site::Site;

const NUMBER: &str = "+442071234567";

async fn sellers_manage_their_own_and_do_not_see_others(site: Site) {
    let (acme, other) = (site.as_seller("acme").await, site.as_seller("other").await);
    let made = acme.post("/dids", json!({ "number": "+44 20 7123 4567" })).await.expect(201);
    assert_eq!(
        (&made["number"], &made["status"], &made["campaign_ids"]),
        (&json!(NUMBER), &json!("active"), &json!([]))
    );
    let path = format!("/dids/{}", made["id"]);
    assert_eq!(acme.get(&path).await.expect(200), made);
    assert_eq!(acme.get("/dids").await.expect(200)["items"], json!([made.clone()]));
    // Another's is as one that is not there.
    let absent = other.get("/dids/999999").await.text;
    for refused in
        [other.get(&path).await, other.patch(&path, json!({ "status": "paused" })).await, other.delete(&path).await]
    {
        refused.refused(404, "not_found");
        assert_eq!(refused.text, absent);
    }
    let filters = ["", "?number=%2B442071234567", "?status=active", &format!("?seller_id={}", made["seller_id"])];
    for filter in filters {
        assert_eq!(other.get(&format!("/dids{filter}")).await.expect(200)["items"], json!([]), "{filter}");
    }
    // That somebody has the number is all it is told.
    let taken = other.post("/dids", json!({ "number": NUMBER })).await;
    taken.refused(409, "did_unavailable");
    assert!(!taken.text.contains("acme") && !taken.text.contains("seller"), "{}", taken.text);
    // The owner is nothing it can say or change.
    let own = other.post("/dids", json!({ "number": "+442071234999" })).await.expect(201);
    let own = format!("/dids/{}", own["id"]);
    assert_eq!(
        other.post("/dids", json!({ "number": "1", "seller_id": made["seller_id"] })).await.wrong_fields(),
        ["seller_id"]
    );
    assert_eq!(other.patch(&own, json!({ "seller_id": made["seller_id"] })).await.wrong_fields(), ["seller_id"]);
    let paused = other.patch(&own, json!({ "status": "paused" })).await.expect(200);
    assert_eq!((&paused["status"], &paused["version"]), (&json!("paused"), &json!(2)));
    other.patch(&own, json!({ "status": "archived" })).await.expect(200);
    assert_eq!(other.get("/dids").await.expect(200)["items"], json!([]), "hidden by default");
    assert_eq!(other.get("/dids?status=archived").await.expect(200)["items"][0]["id"], paused["id"]);
    other.delete(&own).await.expect(204);
    site.settle().await;
}

async fn staff_make_them_for_sellers_and_move_them(site: Site) {
    let staff = site.as_staff().await;
    let (acme, other) = (site.user("acme", Role::Seller).await, site.user("other", Role::Seller).await);
    assert_eq!(staff.post("/dids", json!({ "number": NUMBER })).await.wrong_fields(), ["seller_id"]);
    staff.post("/dids", json!({ "number": NUMBER, "seller_id": 999_999 })).await.refused(404, "not_found");
    let me = staff.get("/auth/me").await.expect(200)["user"]["id"].clone();
    staff.post("/dids", json!({ "number": NUMBER, "seller_id": me })).await.refused(404, "not_found");
    let made = staff.post("/dids", json!({ "number": NUMBER, "seller_id": acme })).await.expect(201);
    let path = format!("/dids/{}", made["id"]);
    let admin = site.as_admin().await;
    let campaign = admin.post("/campaigns", json!({ "name": "Solar", "seller_id": acme })).await.expect(201);
    let tie = format!("/campaigns/{}/dids/{}", campaign["id"], made["id"]);
    admin.send(Method::PUT, &tie, |request| request).await.expect(204);
    staff.patch(&path, json!({ "seller_id": other })).await.refused(409, "in_use");
    staff.patch(&path, json!({ "status": "archived" })).await.refused(409, "in_use");
    staff.delete(&path).await.refused(409, "in_use");
    admin.delete(&tie).await.expect(204);
    assert_eq!(staff.patch(&path, json!({ "seller_id": other })).await.expect(200)["seller_id"], json!(other));
    site.as_user("acme").await.get(&path).await.refused(404, "not_found");
    site.settle().await;
}

async fn a_bulk_is_all_or_none_and_names_each_bad_row(site: Site) {
    let (acme, other) = (site.as_seller("acme").await, site.as_seller("other").await);
    other.post("/dids", json!({ "number": NUMBER })).await.expect(201);
    let bulk = |numbers: &[&str]| -> Value {
        json!({ "items": numbers.iter().map(|number| json!({ "number": number })).collect::<Vec<_>>() })
    };
    let wrong =
        acme.post("/dids/bulk", bulk(&["+0123", "+442071234560", "a b", "+44-2071234560"])).await.wrong_fields();
    assert_eq!(wrong, ["items[0].number", "items[2].number", "items[3].number"]);
    let taken = acme.post("/dids/bulk", bulk(&["+442071234560", NUMBER])).await.refused(409, "did_unavailable");
    assert_eq!(taken["errors"].as_array().map(Vec::len), Some(1));
    assert_eq!(taken["errors"][0]["field"], json!("items[1].number"));
    let seller = json!({ "items": [{ "number": "1", "seller_id": 1 }] });
    assert_eq!(acme.post("/dids/bulk", seller).await.wrong_fields(), ["items[0].seller_id"]);
    assert_eq!(acme.get("/dids").await.expect(200)["items"], json!([]));
    let many: Vec<String> = (0..1000).map(|n| format!("+44207000{n:04}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let made = acme.post("/dids/bulk", bulk(&many)).await.expect(201);
    assert_eq!(made["items"].as_array().map(Vec::len), Some(1000));
    assert_eq!(made["items"][999]["number"], json!("+442070000999"));
    assert_eq!(acme.post("/dids/bulk", bulk(&[])).await.wrong_fields().len(), 1);
    site.settle().await;
}

async fn a_spreadsheet_is_a_bulk_too(site: Site) {
    let (admin, acme) = (site.as_admin().await, site.as_seller("acme").await);
    let bulk = async |who: &Caller, kind: &'static str, text: String| {
        who.send(Method::POST, "/dids/bulk", |request| request.header("Content-Type", kind).body(text)).await
    };
    const CSV: &str = "text/csv; charset=utf-8";
    let text = "\u{feff}number,status\r\n\"+44 20 7123 4567\",paused\r\n+442071234568,\r\n";
    let made = bulk(&acme, CSV, text.to_owned()).await.expect(201);
    let [first, second] = made["items"].as_array().expect("items").as_slice() else { panic!("two: {made:#}") };
    assert_eq!((&first["number"], &first["status"]), (&json!(NUMBER), &json!("paused")));
    assert_eq!((&second["number"], &second["status"]), (&json!("+442071234568"), &json!("active")));
    // All or none, and rows are told as the spreadsheet counts them.
    let wrong = bulk(&acme, CSV, "number\n+442071234570\n+0123\n+44-2071234570\n".to_owned()).await;
    assert_eq!(wrong.wrong_fields(), ["row[3].number", "row[4].number"]);
    let taken = bulk(&acme, CSV, format!("number\n+442071234571\n{NUMBER}\n")).await.refused(409, "did_unavailable");
    assert_eq!(taken["errors"].as_array().map(Vec::len), Some(1));
    assert_eq!(taken["errors"][0]["field"], "row[3].number");
    // What a spreadsheet has spoiled is named, what it only dressed up is read; a row of nothing is none.
    let spoiled =
        "number\n\"4,42079E+11\"\n#N/A\nnumber\nTotal\n\"\"\n442071234582.0\n'+44 20 7123 4580\n+442071234581 / 82\n";
    let wrong = bulk(&acme, CSV, spoiled.to_owned()).await.wrong_fields();
    let rows = [2, 3, 4, 5, 7, 9].map(|row| format!("row[{row}].number"));
    assert_eq!(wrong, rows);
    let dressed = "sep=;\r\nNumber;Status\r\n'+44 20 7123 4580;\r\n\"=\"\"+442071234581\"\"\";Paused\r\n;\r\n+442071234582.0;\r\n\
                   +44\u{a0}20\u{2013}7123\u{2212}4583;\r\n\u{feff}(+44)\u{200b} (0)20 ７１２３４５８４;\r\n";
    let made = bulk(&acme, CSV, dressed.to_owned()).await.expect(201);
    let numbers: Vec<_> = made["items"].as_array().expect("items").iter().map(|did| did["number"].clone()).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4].map(|n| json!(format!("+44207123458{n}"))));
    for did in made["items"].as_array().expect("items") {
        acme.delete(&format!("/dids/{}", did["id"])).await.expect(204);
    }
    let items =
        json!({ "items": [{ "number": "4.42079E+11" }, { "number": "'+44 20 7123 4580" }, { "number": "#REF!" }] });
    assert_eq!(acme.post("/dids/bulk", items).await.wrong_fields(), ["items[0].number", "items[2].number"]);
    let seller = format!("number,seller_id\n+442071234572,{}\n", first["seller_id"]);
    assert_eq!(bulk(&acme, CSV, seller.clone()).await.wrong_fields(), ["row[2].seller_id"]);
    assert_eq!(bulk(&admin, CSV, "number\n+442071234572\n".to_owned()).await.wrong_fields(), ["row[2].seller_id"]);
    bulk(&admin, CSV, seller).await.expect(201);
    assert_eq!(acme.get("/dids").await.expect(200)["items"].as_array().map(Vec::len), Some(3));
    bulk(&acme, "text/plain", "number\n+442071234573\n".to_owned()).await.refused(415, "media_type");
    bulk(&acme, CSV, "number\n".to_owned() + &"x".repeat(300 * 1024)).await.refused(413, "too_large");
    site.settle().await;
}

crate::on_both_databases!(
    sellers_manage_their_own_and_do_not_see_others,
    staff_make_them_for_sellers_and_move_them,
    a_bulk_is_all_or_none_and_names_each_bad_row,
    a_spreadsheet_is_a_bulk_too,
);
