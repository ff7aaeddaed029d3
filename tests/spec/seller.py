"""A seller's first steps with the generated client: python seller.py BASE_URL PASSWORD.

Prints `ready` when a call may come, waits for a line, and reads the call's record."""

import sys
import time

from capconduit_seller import AuthenticatedClient, Client
from capconduit_seller.api.auth import login
from capconduit_seller.api.calls import get_call, list_calls
from capconduit_seller.api.campaigns import add_campaign_did, create_campaign
from capconduit_seller.api.clients import list_clients
from capconduit_seller.api.dids import create_did
from capconduit_seller.api.links import create_link, update_link
from capconduit_seller.models import Life, LinkPatch, Login, NewCampaign, NewDid, NewLink

NUMBER = "+442071234567"

base, password = sys.argv[1:]
tokens = login.sync(client=Client(base_url=base), body=Login(username="acme", password=password))
client = AuthenticatedClient(base_url=base, token=tokens.access_token)

did = create_did.sync(client=client, body=NewDid(number=NUMBER))
campaign = create_campaign.sync(client=client, body=NewCampaign(name="Solar"))
tied = add_campaign_did.sync_detailed(campaign.id, did.id, client=client)
assert tied.status_code == 204, tied
(call_centre,) = list_clients.sync(client=client).items
link = create_link.sync(campaign.id, client=client, body=NewLink(client_id=call_centre.id, max_concurrency=2))
assert link.status == Life.PAUSED, link
link = update_link.sync(campaign.id, link.id, client=client, body=LinkPatch(status=Life.ACTIVE))
assert (link.status, link.max_concurrency, link.ring_timeout_seconds) == (Life.ACTIVE, 2, None), link

refused = create_did.sync_detailed(client=client, body=NewDid(number=NUMBER))
assert (refused.status_code, refused.parsed.code) == (409, "did_unavailable"), refused

print("ready", flush=True)
sys.stdin.readline()
until = time.monotonic() + 20
while not (found := list_calls.sync(client=client, did=NUMBER).items):
    assert time.monotonic() < until, "the call has no record"
    time.sleep(0.05)
call = get_call.sync(found[0].call_id, client=client)
assert (call.did, call.campaign_name, call.answered) == (NUMBER, "Solar", True), call
assert [attempt.link_id for attempt in call.attempts] == [link.id], call
assert call.decision.candidates == [link.id], call
print(f"read {call.call_id}", flush=True)
