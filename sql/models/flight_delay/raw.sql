-- Grain:      one flight, its columns as they are in the table: what the raw suite checks
-- Interval:   scheduled_departure_at in [:start, :end); known_at <= :as_of
-- Parameters: :start, :end, :as_of (timestamptz)
-- Unique key: flight_id
--
-- A flight that became known within the interval belongs to it even where its departure lies more than two days beyond:
-- nobody schedules so; a wrong date would otherwise hide from the suite by leaving the interval.
SELECT
    flight_id,
    carrier,
    flight,
    tailnum,
    origin,
    dest,
    distance,
    scheduled_departure_at,
    scheduled_arrival_at,
    known_at,
    departed_at,
    arrived_at,
    dep_delay,
    arr_delay,
    air_time
FROM flights.flights
WHERE known_at <= :as_of
    AND (
        (scheduled_departure_at >= :start AND scheduled_departure_at < :end)
        OR (known_at >= :start AND scheduled_departure_at > known_at + INTERVAL '2 days')
    )
