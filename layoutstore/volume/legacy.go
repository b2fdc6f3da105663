package volume

import "strings"

// legacyPrefix returns the path below which the layouts of an old archive belong:
// module-<name>.tar contains `.`, `release` and `extra/*` of modules/<name>, and
// security*.tar contains `trivy-*` of security. It applies only if all layouts of the
// archive match, and ends with a slash.
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
