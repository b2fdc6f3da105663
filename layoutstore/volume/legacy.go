package volume

import "strings"

// legacyPrefix returns the path, with a slash at the end, below which the layouts of an archive in
// the old form belong. In that form, module-<name>.tar contains the layouts `.`, `release` and
// `extra/*` of modules/<name>, and security*.tar contains the layouts `trivy-*` of security. If any
// layout does not match, the result is empty.
func legacyPrefix(archive string, layouts []tarLayout) string {
	if len(layouts) == 0 {
		return ""
	}
	name := strings.TrimSuffix(archive, ".tar")
	module, isModule := strings.CutPrefix(name, "module-")
	isSecurity := strings.HasPrefix(name, "security")
	for _, l := range layouts {
		isModule = isModule && (l.path == "." || l.path == "release" || strings.HasPrefix(l.path, "extra/"))
		isSecurity = isSecurity && strings.HasPrefix(l.path, "trivy-")
	}
	switch {
	case isModule && module != "":
		return "modules/" + module + "/"
	case isSecurity:
		return "security/"
	}
	return ""
}
