"""Planted bugs in the built-in priors and around a network: one line of the library changed; the test that must turn red."""

from mutants import Planted

MOSAIC, PATCHES, TESTS = "models/mosaic.py", "models/patch_mixture.py", "test_mosaic.py::"
COMPILED, BRUTE = "models/compiled.py", TESTS + "test_what_is_compiled_for_float32_is_the_posterior_by_brute_force"
AGREES = TESTS + "test_what_is_compiled_agrees_with_products_of_matrices_in_float64"

PLANTED = [
    Planted(
        TESTS + "test_it_is_the_posterior_by_brute_force",
        MOSAIC,
        "fit += log_weights[",
        "fit += 0 * log_weights.clamp(-1e9)[",
        "what a prompt means weighs nothing: only which pictures it means still counts",
    ),
    Planted(
        TESTS + "test_it_is_the_posterior_by_brute_force",
        MOSAIC,
        "scale = self.cell**2 / (2",
        "scale = self.cell / (2",
        "the noise of a cell taken for that of a pixel: every picture is a little of all",
    ),
    Planted(
        TESTS + "test_more_pictures_than_are_kept_go_by_parts",
        MOSAIC,
        "quarters / 127.5 - low - shares",
        "quarters / 127.5 - 0 * low - shares",
        "the reduced picture counts twice",
    ),
    Planted(
        TESTS + "test_more_pictures_than_are_kept_go_by_parts",
        MOSAIC,
        "fit.gather(3, best) - top.log()",
        "fit.gather(3, best)",
        "a part of the pictures weighs what its best one does",
    ),
    Planted(
        TESTS + "test_more_pictures_than_are_kept_go_by_parts",
        MOSAIC,
        "(odds * sums.tops, sums.which)",
        "(sums.tops / len(odds), sums.which)",
        "the parts of the pictures weigh the same",
    ),
    Planted(
        BRUTE,
        COMPILED,
        "line[low, w] + line[low + 1, w] + line[low + 2, w]",
        "line[low, w] + line[low + 1, w]",
        "a window without one of its columns",
    ),
    Planted(
        BRUTE, COMPILED, "fit[w] = log_weights[g, w]\n", "fit[w] = NOUGHT\n", "what a prompt means weighs nothing at the edges"
    ),
    Planted(BRUTE, COMPILED, "if share < SLIGHT", "if share < HALF", "details of the heaviest picture alone"),
    Planted(BRUTE, COMPILED, "k // 2 * 3, c * 4 + k % 2 * 2", "k // 2 * 3, c * 4", "each block's upper cells twice"),
    Planted(BRUTE, COMPILED, "+ o11 * c[11]", "", "a block without one of its cells"),
    Planted(AGREES, COMPILED, "most[w] = max(most[w], most[w + n])", "most[w] = most[w]", "not the heaviest picture for it"),
    Planted(
        AGREES, COMPILED, "totals[r, window] *= less", "totals[r, window] *= 1", "a heavier picture leaves the sum as it was"
    ),
    Planted(
        AGREES, COMPILED, "means[r, q, e] *= less", "means[r, q, e] *= 1", "a heavier picture leaves the means as they were"
    ),
    Planted(AGREES, COMPILED, "which[r, window] = g * LANES + w", "which[r, window] = w", "a picture of the first group"),
    Planted(
        TESTS + "test_a_gradient_is_never_lost_to_what_is_compiled",
        MOSAIC,
        " and not (torch.is_grad_enabled() and x.requires_grad)",
        "",
        "no gradient reaches the picture",
    ),
    Planted(
        TESTS + "test_a_guided_picture_is_cut_off_and_its_noise_found_anew",
        MOSAIC,
        "keeps_eps=False",
        "keeps_eps=True",
        "a picture that was cut off keeps the noise it had before",
    ),
    Planted(
        TESTS + "test_no_prompt_is_all_pictures_and_a_prompt_that_means_all_is_none",
        "models/words.py",
        "fit - np.log(np.exp(fit).sum())",
        "fit - np.log(np.exp(fit).sum()) + np.arange(len(fit)) % 2",
        "a prompt's weights do not follow its words alone",
    ),
    Planted(
        TESTS + "test_the_middle_of_a_patch_has_its_posterior_mean",
        PATCHES,
        "- np.log(v).sum(1) / 2",
        "- np.log(spectra).sum(1) / 2",
        "components weighed as if there were no noise",
    ),
    Planted(
        TESTS + "test_the_middle_of_a_patch_has_its_posterior_mean",
        PATCHES,
        "distances, alpha=0.5)",
        "distances)",
        "components weighed by the square of how well they fit",
    ),
    Planted(
        TESTS + "test_a_coarse_scale_sees_the_mean_with_half_the_noise",
        PATCHES,
        "self.eps(seen[0], a, b / 2) / 2 - seen[1]",
        "self.eps(seen[0], a, b / 4) / 4 - seen[1]",
        "the variance of a mean taken for its standard deviation",
    ),
    Planted(
        TESTS + "test_there_is_no_jump_where_a_coarser_scale_comes_in",
        PATCHES,
        "float(np.log(sigma / low) / np.log(high / low))",
        "float(np.log(sigma / low) / np.log(high / low)) / 2",
        "a coarser scale gets half its say, and the rest at once",
    ),
    Planted(
        TESTS + "test_there_is_no_jump_where_patches_give_way_to_pictures",
        MOSAIC,
        "ramp(sigma, self.join) if self.patches else 1.0 for",
        "float(sigma > self.join[0]) if self.patches else 1.0 for",
        "patches give way to pictures at once",
    ),
    Planted(
        TESTS + "test_a_row_has_the_same_bits_in_any_batch_and_with_any_threads",
        MOSAIC,
        "return found[torch.argsort(",
        "return found[0 * torch.argsort(",
        "rows that go together are not put back where they were",
    ),
    Planted(
        "test_together.py::test_a_network_is_told_each_rows_own_level_and_prompt",
        "levels.py",
        "hosts = [level.host for level in levels]",
        "hosts = [levels[0].host for level in levels]",
        "runs that ask together are all told the level of the first",
    ),
    Planted(
        "test_together.py::test_a_model_in_closed_form_answers_the_same_and_is_called_less_often",
        "together.py",
        "zip(*(each.conds for each in alike), strict=True)",
        "zip(*(each.conds for each in reversed(alike)), strict=True)",
        "runs that ask together are given prompts of others",
    ),
    Planted(
        "test_together.py::test_seconds_of_a_call_are_shared_by_rows",
        "together.py",
        "took * size / sum(sizes)",
        "took",
        "each of the runs that ask together is charged for all",
    ),
    Planted(
        "test_models.py::test_outputs_of_all_conditions_are_read_row_by_row",
        "models/network.py",
        "torch.cat([told.to(x.device)] * n)",
        "told.to(x.device).repeat_interleave(n)",
        "several conditions are told the times of other rows: the same where all rows have one level",
    ),
    Planted(
        "test_models.py::test_outputs_of_all_conditions_are_read_row_by_row",
        "models/network.py",
        "if isinstance(self.parametrisation, Anywhere):  # ours",
        "if n > 1:  # ours",
        "a parametrisation of somebody else's is handed the outputs of several conditions",
    ),
]
