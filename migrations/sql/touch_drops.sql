-- touch_drops(drop_ids): something moved in these drops after all; those that have ended are audited again, and looked through for
-- personal data. Whoever moves an order that was final, or adds one, calls this last: drops are locked after everything else.
-- Not granted to anybody.
CREATE OR REPLACE FUNCTION touch_drops(touched text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off AS $$
BEGIN
    PERFORM 1 FROM drops WHERE id = ANY (touched) AND state = 'ended' ORDER BY id FOR NO KEY UPDATE;
    UPDATE drops SET audited_at = '-infinity', sealed_at = NULL, erased_at = NULL WHERE id = ANY (touched) AND state = 'ended';
END $$;
