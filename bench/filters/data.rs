//! A million calls as a site of some size has them after half a year: few sellers make most of them, some make hardly any.

use crate::site::Site;

/// Who, and what of them, the cases ask for.
pub(crate) struct Data {
    /// Sellers by size: about a quarter of all calls, about a hundredth, fifty calls, none.
    pub(crate) sellers: [i64; 4],
}

/// Fills `call_logs` and `call_attempts`.
pub(crate) async fn fill(site: &Site, calls: i64) -> Data {
    let mut sellers = [0; 4];
    for (id, name) in sellers.iter_mut().zip(["large", "middling", "small", "new"]) {
        site.as_seller(name).await;
        *id = site.user(name, capconduit::auth::roles::Role::Seller).await;
    }
    let [large, middling, small, _] = sellers;
    let attempts = ATTEMPTS.replace("$CALLS", &calls.to_string());
    let facts = FACTS
        .replace("$CALLS", &calls.to_string())
        .replace("$LARGE", &large.to_string())
        .replace("$MIDDLING", &middling.to_string())
        .replace("$SMALL", &small.to_string());
    for statement in [&facts, LOGS, &attempts, "DROP TABLE facts", "VACUUM ANALYZE"] {
        site.sql(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    Data { sellers }
}

/// One row of dice for each call. Arrivals lie evenly over 180 days, the last one a day ago; seller k of 40 makes a share that falls with k,
/// and has 3 campaigns, 10 DIDs, and 4 links in each campaign to some of 60 clients.
const FACTS: &str = "CREATE UNLOGGED TABLE facts AS
    WITH dice AS MATERIALIZED (
        SELECT n, random() AS a, random() AS b, random() AS c, random() AS d, random() AS e,
            now() - interval '181 days' + n * (interval '180 days' / $CALLS) AS at
        FROM generate_series(1, $CALLS) AS n),
    parts AS (SELECT *, CASE WHEN n % ($CALLS / 50) = 7 THEN -1 ELSE CAST(floor(40 * power(a, 3)) AS INT) END AS k FROM dice)
    SELECT n, at, b, c, d, e, k,
        CASE k WHEN -1 THEN $SMALL WHEN 0 THEN $LARGE WHEN 25 THEN $MIDDLING ELSE 100000 + k END AS seller,
        (k + 1) * 10 + CAST(floor(10 * b) AS INT) AS did, (k + 1) * 3 + CAST(floor(3 * c) AS INT) AS campaign,
        CASE WHEN d < 0.45 THEN 'completed' WHEN d < 0.70 THEN 'nobody_answered' WHEN d < 0.85 THEN 'caller_cancelled'
            WHEN d < 0.93 THEN 'all_full' WHEN d < 0.96 THEN 'no_active_link' WHEN d < 0.98 THEN 'unknown_did'
            WHEN d < 0.995 THEN 'max_duration' WHEN d < 0.999 THEN 'failed' WHEN d < 0.9999 THEN 'operator' ELSE 'overloaded' END AS ending,
        d < 0.45 OR (d >= 0.98 AND d < 0.995) OR (d >= 0.999 AND d < 0.9999) AS answered,
        CAST(-120000 * ln(1 - e * 0.9999999) AS BIGINT) AS talk,
        CAST((lpad(to_hex(CAST(floor(extract(epoch FROM at) * 1000) AS BIGINT)), 12, '0') || '8' || substr(md5(CAST(n AS TEXT)), 1, 3)
            || '8' || substr(md5(CAST(n AS TEXT)), 4, 15)) AS UUID) AS id,
        CASE WHEN e < 0.03 THEN NULL WHEN e < 0.05 THEN '+447700900000'
            ELSE '+4477' || lpad(CAST(floor(b * 300000) AS TEXT), 8, '0') END AS caller
    FROM parts";

const LOGS: &str = "INSERT INTO call_logs (call_id, node, uniqueid, linkedid, sip_call_id, dialled_raw, dialled_number, caller_raw,
        caller_number, caller_name, caller_presentation, seller_id, seller_name, did_id, campaign_id, campaign_name, last_link_id,
        arrived_at, answered_at, ended_at, ring_ms, talk_ms, dialstatus, q850_cause, sip_code, hung_up_by, ending, trace, timeline)
    SELECT id, 'pbx', CAST(n AS TEXT), CAST(n AS TEXT), md5(CAST(n AS TEXT)), '+4420' || lpad(CAST(did AS TEXT), 8, '0'),
        '+4420' || lpad(CAST(did AS TEXT), 8, '0'), caller, caller, 'A caller', CASE WHEN caller IS NULL THEN 'withheld' ELSE 'allowed' END,
        CASE WHEN ending <> 'unknown_did' THEN seller END, CASE WHEN ending <> 'unknown_did' THEN 'Seller' END,
        CASE WHEN ending <> 'unknown_did' THEN did END, CASE WHEN ending <> 'unknown_did' THEN campaign END,
        CASE WHEN ending <> 'unknown_did' THEN 'Campaign' END, NULL,
        at, CASE WHEN answered THEN at + interval '9 seconds' END, at + interval '9 seconds' + interval '1 millisecond' * talk, 7000,
        CASE WHEN answered THEN talk ELSE 0 END, CASE WHEN answered THEN 'ANSWER' ELSE 'NOANSWER' END, 16,
        CASE WHEN answered THEN 200 ELSE 480 END, 'caller', ending,
        json_build_object('revision', 7, 'did', did, 'seller', seller, 'campaign_id', campaign, 'campaign', 'Campaign', 'strategy',
            'weighted', 'campaign_used', 3, 'campaign_limit', NULL, 'last_offered', NULL, 'candidates', json_build_array(1, 2), 'links',
            (SELECT json_agg(json_build_object('link', campaign * 4 + l, 'client_id', l, 'client', 'Call centre', 'identifier', 'centre',
                'verdict', 'candidate', 'position', l, 'used', 1, 'limit', 10, 'total_used', 1000, 'total_limit', NULL, 'client_used', 3,
                'client_limit', 30, 'priority', 1, 'weight', 1, 'credit_millionths', 0)) FROM generate_series(1, 4) AS l)),
        json_build_array(json_build_object('at_ms', 0, 'event', 'arrived'), json_build_object('at_ms', 2, 'event', 'routed(2 candidates)'),
            json_build_object('at_ms', 900, 'event', 'ringing(1)'), json_build_object('at_ms', 9000, 'event', 'answered(1)'))
    FROM facts ORDER BY n";

/// Answered calls have one dial, a third of them another before it; nobody-answered ones two; cancelled ones one.
const ATTEMPTS: &str = "INSERT INTO call_attempts (call_id, number, link_id, client_id, client_name, client_identifier, started_at, ended_at,
        outcome, counted, call_arrived_at, call_seller_id, call_ending, call_talk_ms, call_answered_at)
    SELECT id, number, campaign * 4 + link,
        CASE WHEN n % ($CALLS / 20) = 3 THEN 900 ELSE CAST(power((campaign * 7 + link * 13) % 60, 2) AS INT) / 60 END, 'Call centre', 'centre', at, at,
        CASE WHEN answered AND number = dials THEN 'answered' ELSE 'no_answer' END, answered AND number = dials,
        at, seller, ending, CASE WHEN answered THEN talk ELSE 0 END, CASE WHEN answered THEN at + interval '9 seconds' END
    FROM (SELECT *, CASE WHEN answered THEN CASE WHEN c < 0.3 THEN 2 ELSE 1 END WHEN ending = 'nobody_answered' THEN 2
            WHEN ending IN ('caller_cancelled', 'failed') THEN 1 ELSE 0 END AS dials FROM facts) AS calls
        CROSS JOIN LATERAL generate_series(1, dials) AS number
        CROSS JOIN LATERAL (SELECT (CAST(floor(4 * e) AS INT) + number) % 4 AS link) AS chosen
    ORDER BY n";
