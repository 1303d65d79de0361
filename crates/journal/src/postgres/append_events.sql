select
    append, outcome, at_time, at_position, original_type, original_id, original_sequence,
    original_event_type, original_event_version, original_payload, original_metadata,
    original_time, original_issuer, original_key
from journal.append(
    stream_types => $1, stream_ids => $2, stream_expected => $3,
    issuers => $4, keys => $5,
    append_request => $6, append_claim => $7, append_stream => $8, append_key => $9,
    append_expected => $10, append_events => $11, append_before => $12, append_metadata => $13,
    event_append => $14, event_number => $15, event_types => $16, event_versions => $17,
    event_payloads => $18,
    claim_lanes => $19, claim_epochs => $20,
    claim_streams => $21, claim_sequences => $22, claim_ats => $23,
    dead_claims => $24, dead_commands => $25, dead_reasons => $26,
    follows => $27
)
