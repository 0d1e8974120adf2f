-- One row for each airline: how many flights, how many flew, how late they were.
SELECT
    flights.carrier,
    airlines.name AS airline,
    COUNT(*) AS flights,
    COUNT(flights.dep_time) AS departed,
    AVG(flights.dep_delay) AS mean_departure_delay_minutes,
    AVG(flights.arr_delay) AS mean_arrival_delay_minutes
FROM flights
LEFT JOIN airlines ON airlines.carrier = flights.carrier
GROUP BY flights.carrier, airlines.name
ORDER BY flights.carrier
