#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The manuals against what they are about: every option, function, code and configuration key has its place in them, and
they tell of none that there is not.

  tests/docs/manuals.py ROOT   what make install has put below ROOT"""
import collections
import glob
import json
import os
import re
import subprocess
import sys

SRC = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ROOT = os.path.abspath(sys.argv[1])
MAN = ROOT + "/share/man"
FOREIGN = {"fsck(8)", "crypt(5)", "fallocate(1)", "nbdkit(1)", "nbdcopy(1)", "nbdinfo(1)"}  # pages that are not ours
failed = 0


def result(name, problems):
    global failed
    failed += bool(problems)
    print("%sok - %s" % ("not " if problems else "", name))
    for problem in problems[:40]:
        print("# " + problem)
    sys.stdout.flush()


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def page(name, number):
    return read("%s/man%d/%s.%d" % (MAN, number, name, number))


def rendered(path):
    """A page as it is read, in lines that are not broken; bold is a letter, a backspace, and the letter again."""
    return re.sub(".\x08", "", run("mandoc", "-T", "utf8", "-O", "width=999", path))


def shown(name, number):
    return rendered("%s/man%d/%s.%d" % (MAN, number, name, number))


def difference(there, here, what, where):
    return ["%s %s is not in %s" % (what, x, where) for x in sorted(there - here)] + [
        "%s has %s %s, which there is not" % (where, what, x) for x in sorted(here - there)]


def options(text):
    return set(re.findall(r"^ +(?:-\w, )?(--[\w-]+)", text, re.M))


def section(text, title):
    found = re.search(r"^%s\n(.*?)(?=^\S|\Z)" % title, text, re.M | re.S)
    return found.group(1) if found else ""


def lint():
    pages = sorted(glob.glob(MAN + "/man*/*"))
    whole = [path for path in pages if not read(path).startswith(".so ")]
    problems = run("mandoc", "-T", "lint", "-W", "warning", *whole).splitlines()
    aliases = [path for path in pages if path not in whole]
    problems += [path for path in aliases if not os.path.exists("%s/%s" % (MAN, read(path)[4:].strip()))]
    result("mandoc has nothing to say about %d pages, and %d names lead to them" % (len(whole), len(aliases)), problems)
    return whole


def commands():
    help_json = json.loads(run(ROOT + "/bin/vixdisk", "help", "--json"))
    problems = []
    for command in help_json["commands"]:
        name = "vixdisk-" + command["name"]
        if not os.path.exists("%s/man1/%s.1" % (MAN, name)):
            problems.append("there is no %s(1)" % name)
            continue
        there = options(run(ROOT + "/bin/vixdisk", command["name"], "--help").split("\nTypes")[0])
        problems += difference(there, options(section(shown(name, 1), "OPTIONS")), "option", name + "(1)")
        if not section(shown(name, 1), "EXAMPLES"):
            problems.append("%s(1) has no examples: man/%s.1.in" % (name, name))
        if "alias" in command and "man1/%s.1" % name not in page("vixdisk-" + command["alias"], 1):
            problems.append("the alias %s has no page" % command["alias"])
        if name + "(1)" not in shown("vixdisk", 1):
            problems.append("vixdisk(1) does not name " + name)
    result("every command and option is in its manual, and no other", problems)


def daemon():
    text = shown("vixdiskd", 8)
    there = options(run(ROOT + "/sbin/vixdiskd", "--help")) | {"--version", "--help"}
    result("vixdiskd's options are in its manual, and no others",
           difference(there, options(section(text, "OPTIONS")), "option", "vixdiskd(8)"))


def plugin():
    """The parameters of nbdkit's plugin: in its manual, in its help, and in its source."""
    name = "nbdkit-vixdisk-plugin"
    told = {"%s=" % key for key in re.findall(r"^\.TP\n\\fB([\w\\-]+)=", page(name, 1).replace("\\-", "-"), re.M)}
    text = run("nbdkit", "%s/lib/nbdkit/plugins/%s.so" % (ROOT, name), "--help")
    helped = set(re.findall(r"^\[?([\w-]+=)", text, re.M))
    result("every parameter of nbdkit vixdisk --help is in its manual, and no other",
           difference(helped, told, "parameter", name + "(1)") + ([] if len(helped) > 10 else [text]))
    source = read(SRC + "/nbdkit/vixdisk.c")
    taken = set(re.findall(r'strcmp\(key, "([\w-]+)"\)', source))
    taken |= set(re.findall(r'{"([\w-]+)", &', section_of_table(source)))
    result("it takes those, and no others", difference({"%s=" % key for key in taken}, told, "parameter", name + "(1)"))


def section_of_table(source):
    return re.search(r"text_parameters\[\] = \{\n(.*?)^\};", source, re.M | re.S).group(1)


def exports():
    symbols = set(re.findall(r" T (VixDiskLib\w+)", run("nm", "-D", "--defined-only", ROOT + "/lib/libvixDiskLib.so")))
    problems = [] if len(symbols) > 60 else ["the library exports %d names" % len(symbols)]
    for symbol in sorted(symbols):
        path = "%s/man3/%s.3" % (MAN, symbol)
        if not os.path.exists(path):
            problems.append("%s has no page: add it to a group in man/make-pages" % symbol)
            continue
        group = read(path)[4:].strip()
        if symbol not in section(rendered("%s/%s" % (MAN, group)), "NAME"):
            problems.append("%s does not tell of %s" % (group, symbol))
    pages = {os.path.basename(path)[:-2] for path in glob.glob(MAN + "/man3/VixDiskLib*")}
    result("every exported function has a page, and no other", problems + sorted(pages - symbols))
    here = run("env", "MANPATH=" + MAN, "MANWIDTH=200", "man", "VixDiskLib_Read")
    result("man VixDiskLib_Read", [] if "read and write sectors" in " ".join(here.split()) else here.splitlines()[:9])


def codes():
    defined = set(re.findall(r"^VIX_ERROR\((\w+), (\d+),", read(SRC + "/src/base/errors.def"), re.M))
    told = {(name, number) for number, name in re.findall(r"^ +(\d+) (VIX_\w+)$", section(shown("vixdisk-errors", 7), "CODES"),
                                                          re.M)}
    result("every code is in vixdisk-errors(7)", difference(defined, told, "code", "vixdisk-errors(7)"))
    lead = section(shown("vixdisk-errors", 7), "DESCRIPTION")
    used = {(name, number) for number, name in re.findall(r"(\d+) (VIX_\w+)", lead)}
    result("codes that it explains are those", ["%s %s" % pair for pair in used - defined])


def keys():
    defined = set(re.findall(r'^#define CONFIG_\w+\s*(?:\\\n\s*)?"([^"]+)"', read(SRC + "/src/base/config.h"), re.M))
    told = set(re.findall(r"\\fB([\w.]+)\\fR",
                          "\n".join(re.findall(r"^\.TP\n(.*)$", page("vixdisklib.conf", 5), re.M))))
    result("every key is in vixdisklib.conf(5)", difference(defined, told, "key", "vixdisklib.conf(5)"))
    source = read(SRC + "/daemon/config.c")
    defined = set(re.findall(r'^    (?:TEXT|PATH|PORT|LIMIT)\("([\w-]+)"', source, re.M)) | set(
        re.findall(r'strcmp\(name, "([\w-]+)"\)', source))
    told = {key.replace("\\", "") for key in
            re.findall(r"^\.TP\n\\fB([\w\\-]+)\\fR \(", page("vixdiskd.conf", 5), re.M)}
    result("every key is in vixdiskd.conf(5)", difference(defined, told, "key", "vixdiskd.conf(5)"))
    # What is by hand there agrees with the code, and with the guide.
    ports = re.findall(r'PORT\("([\w-]+)", \w+, (\d+)\)', source)
    result("its ports are those", [key for key, number in ports if not re.search(
        r"\b%s \(0 to 65535; default: %s\)" % (key, number), shown("vixdiskd.conf", 5))])
    limits = re.findall(r"^ +([\w-]+) \((\d+) to (\d+); default: (\d+)\)", section(shown("vixdiskd.conf", 5), "LIMITS"), re.M)
    guide = read(SRC + "/docs/vixdiskd.md")
    result("its limits are those of docs/vixdiskd.md", ["%s %s %s %s" % row for row in limits if
           "| `%s` | %s | %s to %s |" % (row[0], row[3], row[1], row[2]) not in guide] + ([] if limits else ["none"]))


def defaults():
    """Ranges and defaults in vixdisklib.conf(5) are those of config.h's comments."""
    text = read(SRC + "/src/base/config.h")
    problems = []
    for key, comment in re.findall(r'^#define CONFIG_\w+\s*(?:\\\n\s*)?"([^"]+)"\s*(?:\\\n\s*)?/\*(.*?)\*/', text, re.M | re.S):
        found = re.match(r"\s*(?:(\d+)\.\.(\d+), |bool, )?(\d+):", comment)
        line = re.search(r"^.*\b%s\b.*\((.*)\)$" % re.escape(key), shown("vixdisklib.conf", 5), re.M)
        if found and line:
            low, high, default = found.groups()
            wanted = (["%s to %s" % (low, high)] if low else []) + ["default: " + default]
            problems += ["%s: %s, not %s" % (key, line.group(1), want) for want in wanted if want not in line.group(1)]
    result("ranges and defaults in vixdisklib.conf(5) are those of the code", problems)


def reference_names(whole):
    ours = {"%s(%s)" % re.match(r"(.*)\.(\d)$", os.path.basename(path)).groups() for path in glob.glob(MAN + "/man*/*")}
    problems = []
    for path in whole:
        for name, number in re.findall(r"^\.BR (\S+) \((\d)\)", read(path), re.M):
            wanted = "%s(%s)" % (name.replace("\\", ""), number)
            if wanted not in ours and wanted not in FOREIGN:
                problems.append("%s: there is no %s" % (os.path.basename(path), wanted))
    result("references lead to pages", problems)
    names = collections.Counter(line.split(" - ")[0] for line in run("lexgrog", *whole).splitlines())
    bad = [line for line in names if "parse failed" in line]
    result("whatis(1) finds their names", bad if len(names) >= len(whole) else ["%d names" % len(names)])


def programs(whole):
    """Examples of section 3 compile: whole programs as they are, functions behind the headers."""
    problems, count = [], 0
    for path in sorted(glob.glob(SRC + "/man/*.3.in")):
        for code in re.findall(r"^@example c\n(.*?)^@end$", read(path), re.M | re.S):
            count += 1
            if "int main" not in code:
                code = "#include <stdio.h>\n#include <vixDiskLib.h>\n#include <vixDiskLibExt.h>\n" + code
            done = subprocess.run(["gcc", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-I",
                                   ROOT + "/include/vixdisklib", "-x", "c", "-"], input=code, text=True, capture_output=True)
            if done.returncode:
                problems.append("%s: %s" % (os.path.basename(path), done.stderr))
    result("%d examples in C compile" % count, problems if count else ["none"])


every_page = lint()
commands()
daemon()
plugin()
exports()
codes()
keys()
defaults()
reference_names(every_page)
programs(every_page)
sys.exit(bool(failed))
