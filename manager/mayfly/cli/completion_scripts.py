"""The script by which a shell asks Mayfly what may be typed; one each for bash, zsh and fish.

Each asks by variables and not by words, so that a `mayfly` that is something else does nothing. What comes
back is a kind (`words`, `files`, `folders`) and then a line for each name; no script evaluates any of it.
"""

from __future__ import annotations

BASH = r"""
_mayfly_complete() {
    local kind=
    COMPREPLY=()
    {
        IFS= read -r kind
        mapfile -t COMPREPLY
    } < <(
        _MAYFLY_COMPLETE=bash COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_TYPE="${COMP_TYPE-}" \
            COMP_WORDBREAKS="${COMP_WORDBREAKS-}" "${1/#~\//$HOME/}" 2>/dev/null </dev/null
    )
    case $kind in
        files) compopt -o default ;;
        folders) compopt -o dirnames ;;
    esac
}
complete -o nosort -F _mayfly_complete mayfly 2>/dev/null || complete -F _mayfly_complete mayfly
"""

ZSH = r"""#compdef mayfly
_mayfly() {
    local line name about
    local -a rows told
    rows=("${(@f)$(_MAYFLY_COMPLETE=zsh _MAYFLY_BEFORE="${(pj:\n:)${(@Q)words[1,CURRENT-1]}}" \
        _MAYFLY_WORD="${(Q)words[CURRENT]}" ${~${(Q)words[1]}} 2>/dev/null </dev/null)}")
    case $rows[1] in
        files|folders)
            [[ $words[CURRENT] == -*=* ]] && compset -P '*='
            [[ $rows[1] == folders ]] && _files -/ || _files
            ;;
        words)
            for line in "${(@)rows[2,-1]}"; do
                name=${line%%$'\t'*} about=${line#*$'\t'}
                told+=("${name//:/\\:}${about:+:$about}")
            done
            _describe -V mayfly told
            ;;
    esac
}
if [[ $funcstack[1] == _mayfly ]]; then
    _mayfly "$@"
else
    compdef _mayfly mayfly
fi
"""

FISH = r"""
function __mayfly_complete
    set -l before (commandline -opc)
    set -l word (commandline -ct)
    set -lx _MAYFLY_COMPLETE fish
    set -lx _MAYFLY_BEFORE (string join \n -- $before | string collect)
    set -lx _MAYFLY_WORD "$word"
    set -l rows ($before[1] 2>/dev/null </dev/null)
    set -l kind "$rows[1]"
    set -l option (string match -r -- '^-[^=]*=' "$word")
    set -l value (string replace -r -- '^-[^=]*=' '' "$word")
    switch "$kind"
        case words
            string join \n -- $rows[2..-1]
        case files
            for path in (__fish_complete_path "$value")
                echo -- "$option$path"
            end
        case folders
            for path in (__fish_complete_directories "$value")
                echo -- "$option$path"
            end
    end
end
complete --command mayfly --no-files --keep-order --arguments '(__mayfly_complete)'
"""

SCRIPTS = {"bash": BASH.lstrip(), "zsh": ZSH, "fish": FISH.lstrip()}
