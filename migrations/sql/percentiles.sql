-- percentiles(times): p50, p90 and p99 in seconds; null of nothing. Not granted to anybody.
CREATE OR REPLACE FUNCTION percentiles(times interval[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT CASE WHEN count(*) > 0 THEN jsonb_build_object(
        'p50', percentile_disc(0.5) WITHIN GROUP (ORDER BY seconds), 'p90', percentile_disc(0.9) WITHIN GROUP (ORDER BY seconds),
        'p99', percentile_disc(0.99) WITHIN GROUP (ORDER BY seconds)) END
    FROM (SELECT extract(epoch FROM t)::float8 AS seconds FROM unnest(times) AS u (t)) s
$$;
