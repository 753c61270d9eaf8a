"""Motion: from constraints to a speed profile, from the profile to a trajectory."""
