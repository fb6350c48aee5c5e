from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lerobot.configs import FeatureType, PolicyFeature, PreTrainedConfig
from lerobot.policies import make_pre_post_processors
from lerobot.utils.import_utils import register_third_party_plugins
from lerobot_policy_so101 import So101FlowConfig
from lerobot_policy_so101.heads import FlowHead
from lerobot_policy_so101.images import jitter_images, shift_images, shrink_images
from lerobot_policy_so101.modeling_so101_flow import So101FlowPolicy
from lerobot_policy_so101.networks import SpatialSoftmax
from lerobot_policy_so101.processor_so101_flow import floor_stats

CHUNK = 6


def make_config(cameras: tuple[str, ...] = ("wrist", "front"), **options: Any) -> So101FlowConfig:
    images = {
        f"observation.images.{name}": PolicyFeature(FeatureType.VISUAL, (3, 48, 80))
        for name in cameras
    }
    return So101FlowConfig(
        device="cpu",
        chunk_size=CHUNK,
        n_action_steps=3,
        input_features={"observation.state": PolicyFeature(FeatureType.STATE, (6,)), **images},
        output_features={"action": PolicyFeature(FeatureType.ACTION, (6,))},
        **options,
    )


def make_batch(config: So101FlowConfig, count: int = 4) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    batch = {
        "observation.state": torch.randn(count, 6, generator=generator),
        "action": torch.randn(count, CHUNK, 6, generator=generator),
        "action_is_pad": torch.zeros(count, CHUNK, dtype=torch.bool),
    }
    for key in config.camera_keys:
        batch[key] = torch.rand(count, 3, 48, 80, generator=generator)
    return batch


def test_lerobot_finds_the_plugin_by_its_distribution_name() -> None:
    register_third_party_plugins()

    assert PreTrainedConfig.get_choice_class("so101_flow") is So101FlowConfig


@pytest.mark.parametrize("cameras", [(), ("wrist",), ("wrist", "front", "side")])
@pytest.mark.parametrize("head", ["flow", "mse"])
def test_any_number_of_cameras_and_both_heads_learn_and_act(
    cameras: tuple[str, ...], head: str
) -> None:
    config = make_config(cameras, head=head)
    policy = So101FlowPolicy(config)
    batch = make_batch(config)

    policy.train()
    loss, info = policy.forward(batch)
    torch.autograd.backward(loss)

    assert info["squared_error"] == pytest.approx(loss.item())
    assert all(parameter.grad is not None for parameter in policy.parameters())
    assert policy.predict_action_chunk(batch).shape == (4, CHUNK, 6)


def test_the_order_in_which_cameras_are_declared_does_not_matter() -> None:
    assert (
        make_config(("wrist", "front")).camera_keys == make_config(("front", "wrist")).camera_keys
    )


def test_one_loss_a_sample_has_the_batch_loss_as_its_mean() -> None:
    config = make_config()
    policy = So101FlowPolicy(config)
    policy.seed(3)
    one_each, _ = policy.forward(make_batch(config), reduction="none")
    policy.seed(3)
    mean, _ = policy.forward(make_batch(config))

    assert one_each.shape == (4,)
    torch.testing.assert_close(one_each.mean(), mean)


def test_masked_padding_has_no_influence() -> None:
    config = make_config(mask_padding=True, head="mse")
    policy = So101FlowPolicy(config).eval()
    batch = make_batch(config)
    batch["action_is_pad"][:, 4:] = True
    changed = {**batch, "action": batch["action"].clone()}
    changed["action"][:, 4:] = 100.0

    torch.testing.assert_close(policy.forward(batch)[0], policy.forward(changed)[0])


def test_a_seed_repeats_a_rollout_and_global_draws_do_not_disturb_it() -> None:
    config = make_config()
    policy = So101FlowPolicy(config)
    batch = make_batch(config, 1)
    policy.seed(5)
    first = [policy.predict_action_chunk(batch) for _ in range(2)]
    torch.rand(100)
    policy.seed(5)
    second = [policy.predict_action_chunk(batch) for _ in range(2)]

    for one, two in zip(first, second, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)
    assert not torch.equal(first[0], first[1])


def test_given_noise_decides_the_chunk() -> None:
    config = make_config()
    policy = So101FlowPolicy(config)
    batch = make_batch(config, 1)
    noise = torch.ones(1, CHUNK, 6)

    torch.testing.assert_close(
        policy.predict_action_chunk(batch, noise=noise),
        policy.predict_action_chunk(batch, noise=noise),
    )


def test_selected_actions_are_the_executed_part_of_a_chunk_until_reset() -> None:
    config = make_config()
    policy = So101FlowPolicy(config)
    batch = make_batch(config, 1)
    policy.seed(1)
    chunk = policy.predict_action_chunk(batch)
    policy.seed(1)

    for step in range(3):
        torch.testing.assert_close(policy.select_action(batch), chunk[:, step])
    fresh = policy.select_action(batch)
    assert not torch.equal(fresh, chunk[:, 3])

    policy.seed(1)
    policy.reset()
    torch.testing.assert_close(policy.select_action(batch), chunk[:, 0])


def test_acting_does_not_augment() -> None:
    config = make_config(head="mse")
    policy = So101FlowPolicy(config).train()
    batch = make_batch(config, 1)

    torch.testing.assert_close(
        policy.predict_action_chunk(batch), policy.predict_action_chunk(batch), rtol=0, atol=0
    )


def test_the_last_euler_step_lands_on_the_guess() -> None:
    head = FlowHead(make_config())
    clean = torch.randn(2, CHUNK * 6)
    head._clean = lambda *_: clean  # type: ignore[method-assign]

    chunk = head.sample(torch.zeros(2, 384), torch.randn(2, CHUNK, 6))

    torch.testing.assert_close(chunk.flatten(1), clean)


def test_images_of_any_size_and_type_meet_the_same_network() -> None:
    config = make_config(("wrist",), head="mse")
    policy = So101FlowPolicy(config)
    batch = make_batch(config, 1)
    key = "observation.images.wrist"
    levels = (batch[key] * 255).round().to(torch.uint8)
    as_float = policy.predict_action_chunk({**batch, key: levels.float() / 255})

    torch.testing.assert_close(as_float, policy.predict_action_chunk({**batch, key: levels}))
    small = shrink_images(levels, 64)
    torch.testing.assert_close(as_float, policy.predict_action_chunk({**batch, key: small}))


def test_shrinking_averages_areas() -> None:
    image = torch.zeros(1, 3, 128, 256, dtype=torch.uint8)
    image[..., :4] = 200  # one small pixel is 4 wide, 2 high

    small = shrink_images(image, 64)

    assert small.shape == (1, 3, 64, 64)
    assert small[0, 0, 10, 0] == 200
    assert small[0, 0, 10, 1] == 0


def test_a_shift_moves_whole_pixels_and_repeats_the_border() -> None:
    image = torch.arange(64).repeat(64, 1)[None, None].expand(50, 3, 64, 64).to(torch.uint8)

    moved = shift_images(image, 3, torch.Generator().manual_seed(0))

    middle = moved[:, 0, 32, 32].to(torch.int64) - 32
    assert set(middle.tolist()) == set(range(-3, 4))
    for row, by in zip(moved[:, 0, 32], middle, strict=True):
        assert row.tolist() == (torch.arange(64) + by).clamp(0, 63).tolist()


def test_jitter_stays_within_its_bounds() -> None:
    bright = jitter_images(
        torch.full((200, 3, 2, 2), 0.5), brightness=0.1, contrast=0.2, generator=None
    )

    assert 0.5 * 0.8 - 0.1 <= bright.min() < 0.45
    assert 0.55 < bright.max() <= 0.5 * 1.2 + 0.1


def test_the_spatial_softmax_finds_a_peak() -> None:
    maps = torch.zeros(1, 1, 5, 9)
    maps[0, 0, 4, 2] = 50.0

    x, y = SpatialSoftmax()(maps)[0].tolist()

    assert (x, y) == pytest.approx((-0.5, 1.0), abs=1e-4)


def test_joints_that_hardly_move_are_not_blown_up() -> None:
    stats = {
        key: {
            "mean": np.zeros(6),
            "std": np.array([20.0, 1e-4, 1.2, 0.0, 5.0, 0.3]),
            "min": np.zeros(6),
            "max": np.ones(6),
        }
        for key in ("observation.state", "action")
    }
    config = make_config(())

    before, after = make_pre_post_processors(config, dataset_stats=stats)

    batch = before({"observation.state": torch.full((1, 6), 1.15)})
    assert batch["observation.state"][0].tolist() == pytest.approx(
        [1.15 / 20, 1.0, 1.15 / 1.2, 1.0, 1.15 / 5, 1.15], rel=1e-5
    )
    actions = after(torch.ones(1, CHUNK, 6))
    assert actions[0, 0].tolist() == pytest.approx([20, 1.15, 1.2, 1.15, 5, 1.0], rel=1e-5)
    assert floor_stats(stats, config)["action"]["max"] is stats["action"]["max"]


def test_the_averaged_weights_are_saved_and_the_raw_ones_kept(tmp_path: Path) -> None:
    config = make_config(())
    policy = So101FlowPolicy(config)
    weight = policy.context.mix.get_parameter("0.weight")
    policy.update()
    with torch.no_grad():
        weight.add_(1.0)
    policy.update()
    raw = weight.detach().clone()

    policy.save_pretrained(tmp_path)
    loaded = So101FlowPolicy.from_pretrained(tmp_path, strict=True)

    torch.testing.assert_close(weight, raw, rtol=0, atol=0)
    expected = raw - 1.0 + 9.0 / 11.0  # second step of the warm-up of the averaging rate
    torch.testing.assert_close(loaded.context.mix.get_parameter("0.weight"), expected)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"n_action_steps": 7}, "n_action_steps"),
        ({"n_action_steps": 0}, "n_action_steps"),
        ({"head": "magic"}, "flow, mse"),
        ({"n_obs_steps": 2}, "n_obs_steps"),
        ({"integration_steps": 0}, "integration_steps"),
        ({"conv_strides": (2, 2)}, "equally long"),
    ],
)
def test_settings_that_cannot_work_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        So101FlowConfig(**{"device": "cpu", "chunk_size": CHUNK, "n_action_steps": 3, **options})


def test_a_dataset_without_joints_is_refused() -> None:
    config = make_config()
    assert config.input_features is not None
    del config.input_features["observation.state"]

    with pytest.raises(ValueError, match=r"observation\.state"):
        So101FlowPolicy(config)
