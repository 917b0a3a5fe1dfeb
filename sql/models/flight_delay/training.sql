-- Grain:      one flight, as it was known at its scheduled departure
-- Interval:   scheduled_departure_at in [:start, :end); known_at <= :as_of
-- Parameters: :start, :end, :as_of (timestamptz)
-- Unique key: flight_id
--
-- is_late is NULL until the flight has arrived, and stays NULL for a cancelled or a diverted one. The same query makes
-- rows to score: end after as_of gives flights that are only scheduled. History counts a flight from the instant it had
-- arrived, strictly before the departure it is history for: moving as_of on never changes an earlier flight's features.
WITH event AS (
    -- Departures are the rows wanted; arrivals are what they can look back on.
    SELECT
        scheduled_departure_at AS at,
        carrier,
        origin,
        dest,
        NULL::integer AS late,
        flight_id,
        tailnum,
        distance,
        scheduled_arrival_at,
        known_at,
        CASE WHEN arrived_at <= :as_of THEN (arr_delay >= 15)::integer END AS is_late
    FROM flights.flights
    WHERE scheduled_departure_at >= :start AND scheduled_departure_at < :end AND known_at <= :as_of
    UNION ALL
    SELECT arrived_at, carrier, origin, dest, (arr_delay >= 15)::integer, NULL, NULL, NULL, NULL, NULL, NULL
    FROM flights.flights
    WHERE arrived_at >= :start - INTERVAL '7 days' AND arrived_at < :end AND arrived_at <= :as_of
),
history AS (
    -- The upper edge leaves out arrivals at the very instant of departure. Averages of integers are exact and slide
    -- along; averages of floats would be computed anew for every row.
    SELECT
        event.*,
        avg(late) OVER carrier_1d AS carrier_late_ratio_1d,
        avg(late) OVER origin_3h AS origin_late_ratio_3h,
        avg(late) OVER origin_1d AS origin_late_ratio_1d,
        avg(late) OVER route_7d AS route_late_ratio_7d
    FROM event
    WINDOW
        carrier_1d AS (
            PARTITION BY carrier ORDER BY at RANGE BETWEEN INTERVAL '1 day' PRECEDING AND INTERVAL '1 microsecond' PRECEDING
        ),
        origin_3h AS (
            PARTITION BY origin ORDER BY at RANGE BETWEEN INTERVAL '3 hours' PRECEDING AND INTERVAL '1 microsecond' PRECEDING
        ),
        origin_1d AS (
            PARTITION BY origin ORDER BY at RANGE BETWEEN INTERVAL '1 day' PRECEDING AND INTERVAL '1 microsecond' PRECEDING
        ),
        route_7d AS (
            PARTITION BY origin, dest ORDER BY at RANGE BETWEEN INTERVAL '7 days' PRECEDING AND INTERVAL '1 microsecond' PRECEDING
        )
),
flight AS (
    SELECT history.*, at AT TIME ZONE 'America/New_York' AS local_at FROM history WHERE flight_id IS NOT NULL
)
SELECT
    flight.flight_id,
    flight.at AS scheduled_departure_at,
    flight.known_at,
    flight.is_late,
    flight.carrier,
    flight.origin,
    flight.dest,
    extract(hour FROM flight.local_at)::integer AS scheduled_hour,
    (extract(hour FROM flight.local_at) * 60 + extract(minute FROM flight.local_at))::integer AS scheduled_minute_of_day,
    extract(isodow FROM flight.local_at)::integer AS weekday,
    extract(epoch FROM flight.scheduled_arrival_at - flight.at)::double precision / 60 AS scheduled_minutes,
    flight.distance,
    extract(year FROM flight.local_at)::integer - planes.year AS plane_age,
    planes.seats AS plane_seats,
    planes.engine AS plane_engine,
    weather.temp AS temperature,
    weather.wind_speed,
    weather.wind_gust,
    weather.precip AS precipitation,
    weather.pressure,
    weather.visib AS visibility,
    weather.humid AS humidity,
    flight.carrier_late_ratio_1d::double precision,
    flight.origin_late_ratio_3h::double precision,
    flight.origin_late_ratio_1d::double precision,
    flight.route_late_ratio_7d::double precision
FROM flight
LEFT JOIN flights.planes ON planes.tailnum = flight.tailnum
-- The last full hour before departure: the report of the hour itself comes in too late for most of its flights.
LEFT JOIN flights.weather
    ON weather.origin = flight.origin
    AND weather.time_hour = date_trunc('hour', flight.at) - INTERVAL '1 hour'
    AND weather.known_at <= :as_of
ORDER BY flight.at, flight.flight_id
