"""What the vehicle's sensors measure of the simulated world: lidar, camera, GNSS, IMU, wheels.

Every sensor draws from its own named generator; what it returns depends only on (seed, sensor, stamp)
and the world it looks at, never on which calls came before.
"""
