"""Functions of CARLA's wire for what this world does not have: accepted in silence, answered with nothing, or refused
with a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from robotaxi.carla_link.server import wire

if TYPE_CHECKING:
    from robotaxi.carla_link.server.server import CarlaServer

_NO_RECORDER = "the recorder is not part of this server; record with a bag instead"
_GRAVITY = 9.81  # m/s^2 of every IMU

SILENT = (  # accepted and without effect: they change only pictures that are not drawn here
    "draw_debug_shape", "update_lights_state", "update_day_night_cycle", "enable_environment_objects",
    "apply_bone_control_to_walker", "set_bones_transform", "blend_pose", "get_pose_from_animation",
    "show_vehicle_debug_telemetry", "set_wheel_steer_direction", "set_wheel_pitch_angle", "open_vehicle_door",
    "close_vehicle_door", "set_actor_enable_gravity", "set_actor_autopilot", "enable_for_ros", "disable_for_ros",
    "enable_sensor_for_ros", "disable_sensor_for_ros", "set_annotations_traverse_translucency",
    "set_replayer_time_factor", "set_replayer_ignore_hero", "set_replayer_ignore_spectator", "stop_recorder",
    "stop_replayer", "add_actor_force_at_location", "add_actor_impulse_at_location", "restore_physx_physics",
    "use_carsim_road", "set_imui_sensor_gravity", "set_imui_gravity", "apply_color_texture_to_objects",
    "apply_float_color_texture_to_objects",
)  # fmt: skip


class AbsentCalls:
    """Every public method is a function of the wire; the arguments are as the client sent them."""

    _server: CarlaServer

    # ------------------------------------------------------------------ nothing to tell

    def get_imui_gravity(self) -> Any:
        return wire.good(_GRAVITY)

    def is_sensor_enabled_for_ros(self, actor: int) -> Any:
        self._server.episode.actor(actor)
        return wire.good(False)

    def get_wheel_pitch_angle(self, actor: int, wheel: Any) -> Any:
        self._server.episode.vehicle(actor)
        return wire.good(0.0)

    def get_vehicle_bone_world_transforms(self, actor: int) -> Any:
        return self._none_of(actor)

    def get_actor_bone_names(self, actor: int) -> Any:
        return self._none_of(actor)

    def get_actor_bone_world_transforms(self, actor: int) -> Any:
        return self._none_of(actor)

    def get_actor_bone_relative_transforms(self, actor: int) -> Any:
        return self._none_of(actor)

    def get_actor_component_names(self, actor: int) -> Any:
        return self._none_of(actor)

    def get_actor_socket_names(self, actor: int) -> Any:
        return self._none_of(actor)

    def get_actor_socket_world_transforms(self, actor: int) -> Any:
        return self._none_of(actor)

    def get_actor_socket_relative_transforms(self, actor: int) -> Any:
        return self._none_of(actor)

    def get_bones_transform(self, actor: int) -> Any:
        self._server.episode.actor(actor)
        return wire.good([[]])

    def query_lights_state(self, client: Any = None) -> Any:
        return wire.good([])

    # ------------------------------------------------------------------ refused

    def get_actor_component_world_transform(self, actor: int, name: str) -> Any:
        return self._no_component(actor, name)

    def get_actor_component_relative_transform(self, actor: int, name: str) -> Any:
        return self._no_component(actor, name)

    def get_gbuffer_token(self, actor: int, texture: int) -> Any:
        return wire.bad("G-buffers are not part of this server; cameras are RGB, depth, semantic and instance")

    def start_recorder(self, *_: Any) -> Any:
        return wire.bad(_NO_RECORDER)

    def show_recorder_file_info(self, *_: Any) -> Any:
        return wire.bad(_NO_RECORDER)

    def show_recorder_collisions(self, *_: Any) -> Any:
        return wire.bad(_NO_RECORDER)

    def show_recorder_actors_blocked(self, *_: Any) -> Any:
        return wire.bad(_NO_RECORDER)

    def replay_file(self, *_: Any) -> Any:
        return wire.bad(_NO_RECORDER)

    def enable_carsim(self, *_: Any) -> Any:
        return wire.bad("CarSim is not part of this server")

    def enable_chrono_physics(self, *_: Any) -> Any:
        return wire.bad("Chrono is not part of this server")

    # ------------------------------------------------------------------ inside

    def _none_of(self, actor: Any) -> Any:
        self._server.episode.actor(actor)
        return wire.good([])

    def _no_component(self, actor: Any, name: Any) -> Any:
        kind = self._server.episode.actor(actor).type_id
        return wire.bad(f"actor {actor}, a '{kind}', has no component '{str(name)[:80]}': bodies are boxes here")
