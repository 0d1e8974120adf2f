-- One row for each airport and hour with flights: delays, and the weather of that hour.
SELECT
    flights.origin,
    flights.time_hour,
    COUNT(*) AS flights,
    COUNT(flights.dep_time) AS departed,
    AVG(flights.dep_delay) AS mean_departure_delay_minutes,
    weather.temp AS temperature_fahrenheit,
    weather.wind_speed AS wind_speed_mph,
    weather.precip AS precipitation_inches,
    weather.visib AS visibility_miles
FROM flights
LEFT JOIN weather
    ON weather.origin = flights.origin AND weather.time_hour = flights.time_hour
GROUP BY
    flights.origin,
    flights.time_hour,
    weather.temp,
    weather.wind_speed,
    weather.precip,
    weather.visib
ORDER BY flights.origin, flights.time_hour
