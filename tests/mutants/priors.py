"""Planted bugs in the built-in priors: one line of the library changed; the test that must turn red."""

from mutants import Planted

MOSAIC, PATCHES, TESTS = "models/mosaic.py", "models/patch_mixture.py", "test_mosaic.py::"

PLANTED = [
    Planted(
        TESTS + "test_it_is_the_posterior_by_brute_force",
        MOSAIC,
        "(support.log_weights - self.cell**2",
        "(0 * support.log_weights - self.cell**2",
        "what a prompt means weighs nothing: only which pictures it means still counts",
    ),
    Planted(
        TESTS + "test_it_is_the_posterior_by_brute_force",
        MOSAIC,
        "- self.cell**2 / (2 * v) * fit",
        "- self.cell / (2 * v) * fit",
        "the noise of a cell taken for that of a pixel: every picture is a little of all",
    ),
    Planted(
        TESTS + "test_it_is_the_posterior_by_brute_force",
        MOSAIC,
        "drawn - grown @ around @ grown.T",
        "drawn - 0 * (grown @ around @ grown.T)",
        "the reduced picture counts twice",
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
        TESTS + "test_a_coarse_scale_sees_the_mean_with_half_the_noise",
        PATCHES,
        "self.eps(seen[0], a, b / 2) / 2 - seen[1]",
        "self.eps(seen[0], a, b / 4) / 4 - seen[1]",
        "the variance of a mean taken for its standard deviation",
    ),
    Planted(
        TESTS + "test_sigma_has_no_jump_where_one_gives_way_to_another",
        PATCHES,
        "float(np.log(sigma / low) / np.log(high / low))",
        "float(np.log(sigma / low) / np.log(high / low)) / 2",
        "patches hand over half, and all at once",
    ),
]
