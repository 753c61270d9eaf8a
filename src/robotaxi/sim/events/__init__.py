"""What happens to a ride on demand, described as data: road users, weather, and broken sensors."""
