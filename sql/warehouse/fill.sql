-- From the staging tables to typed rows. Local times become UTC by the time zone of the airport they are of.
INSERT INTO flights.weather
SELECT origin, time_hour, time_hour + INTERVAL '1 hour', temp, dewp, humid, wind_dir, wind_speed, wind_gust, precip, pressure, visib
FROM csv_weather
ORDER BY time_hour, origin;

INSERT INTO flights.flights
WITH zone AS (
    SELECT faa, tzone FROM flights.airports
    UNION ALL
    -- Destinations that the airports file lacks: Puerto Rico and the Virgin Islands, which share a clock.
    SELECT missing.faa, 'America/Puerto_Rico'
    FROM (VALUES ('SJU'), ('BQN'), ('STT'), ('PSE')) AS missing (faa)
    WHERE NOT EXISTS (SELECT FROM flights.airports WHERE airports.faa = missing.faa)
), departure AS (
    SELECT
        csv_flights.*,
        zone.tzone,
        make_timestamptz(year, month, day, sched_dep_time / 100, sched_dep_time % 100, 0, 'America/New_York') AS scheduled_departure_at
    FROM csv_flights LEFT JOIN zone ON zone.faa = csv_flights.dest
), arrival AS (
    -- On the day of departure at the destination, by the clock there, or else on the next.
    SELECT
        departure.*,
        date_trunc('day', scheduled_departure_at AT TIME ZONE tzone)
            + make_interval(hours => sched_arr_time / 100, mins => sched_arr_time % 100) AS local_arrival
    FROM departure
), schedule AS (
    SELECT
        arrival.*,
        CASE
            WHEN local_arrival AT TIME ZONE tzone > scheduled_departure_at THEN local_arrival AT TIME ZONE tzone
            ELSE (local_arrival + INTERVAL '1 day') AT TIME ZONE tzone
        END AS scheduled_arrival_at
    FROM arrival
)
SELECT
    format('%s-%s%s-%s', to_char(make_date(year, month, day), 'YYYYMMDD'), carrier, flight, origin),
    carrier, flight, tailnum, origin, dest, distance,
    scheduled_departure_at, scheduled_arrival_at,
    scheduled_departure_at - INTERVAL '1 day',
    scheduled_departure_at + make_interval(mins => dep_delay),
    scheduled_arrival_at + make_interval(mins => arr_delay),
    dep_delay, arr_delay, air_time
FROM schedule
ORDER BY scheduled_departure_at, carrier, flight, origin;

-- A flight that arrived somewhere without a clock would silently never have arrived.
DO $$
DECLARE unknown text;
BEGIN
    SELECT dest INTO unknown FROM flights.flights WHERE arr_delay IS NOT NULL AND arrived_at IS NULL LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'no time zone is known for destination %', unknown;
    END IF;
END $$;

-- Keys and indexes on filled tables: quicker than keeping them up row by row.
ALTER TABLE flights.weather ADD PRIMARY KEY (origin, time_hour);
ALTER TABLE flights.flights ADD PRIMARY KEY (flight_id);
CREATE INDEX flights_by_event_time ON flights.flights (scheduled_departure_at);
CREATE INDEX flights_by_arrival ON flights.flights (arrived_at);
CREATE INDEX weather_by_event_time ON flights.weather (time_hour);
ANALYZE flights.airlines, flights.airports, flights.planes, flights.weather, flights.flights;
